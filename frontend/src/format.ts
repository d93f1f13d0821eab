// Times, sizes and counts as people read them, the same as the server writes them.

// Two units at most: 0.42 s, 12 s, 3 min 5 s, 2 h 10 min.
export function seconds(value: number): string {
  if (value < 10) return `${Number(Math.max(value, 0).toFixed(2))} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  const isShort = whole < 3600;
  const larger = isShort ? 60 : 3600;
  const rest = isShort ? whole % 60 : Math.floor((whole % 3600) / 60);
  const major = `${Math.floor(whole / larger)} ${isShort ? "min" : "h"}`;
  return rest ? `${major} ${rest} ${isShort ? "s" : "min"}` : major;
}

// A clock that ticks each second shows no hundredths.
export const ticking = (value: number): string => seconds(Math.max(0, Math.floor(value)));

export function bytes(size: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let at = 0;
  while (size >= 1024 && at < units.length - 1) {
    size /= 1024;
    at++;
  }
  return `${at && size < 100 ? size.toFixed(1) : number(Math.round(size))} ${units[at]}`;
}

export const number = (value: number): string => value.toLocaleString("en");

export const count = (value: number, thing: string): string =>
  `${number(value)} ${thing}${value === 1 ? "" : "s"}`;
