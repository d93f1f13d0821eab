// Keeps "3 min ago" true: every <time data-djsci-ago> is told anew while the page is looked at.

const UNITS: [number, string, number][] = [
  [60, "s", 1],
  [3600, "min", 60],
  [86_400, "h", 3600],
  [60 * 86_400, "d", 86_400],
];

export function ago(seconds: number): string | null {
  if (seconds < 5) return "just now";
  const found = UNITS.find(([most]) => seconds < most);
  return found ? `${Math.floor(seconds / found[2])} ${found[1]} ago` : null;
}

// The server wrote how old it was, the reader's clock may be wrong: only what has passed is added.
function follow(): void {
  const shown = Date.now();
  const times = [...document.querySelectorAll<HTMLElement>("time[data-djsci-ago]")].map((time) => ({
    time,
    age: Number(time.dataset.djsciAgo),
  }));
  if (!times.length) return;
  setInterval(() => {
    if (document.hidden) return;
    for (const { time, age } of times) {
      const text = ago(age + (Date.now() - shown) / 1000);
      if (text && time.textContent !== text) time.textContent = text;
    }
  }, 5000);
}

if (typeof document !== "undefined") follow();
