// A line of the log: its text, its styled runs, and what a cursor may do to it.

import { PLAIN, type Style, same } from "./ansi";

export type Stream = "stdout" | "stderr";
export type Note = "note" | "warning" | "error" | "debug" | "cell" | "traceback" | "clear";
export interface Run {
  from: number;
  to: number;
  style: Style;
}
export interface Line {
  /** Counts from 0 over the whole log. */
  readonly number: number;
  readonly kind: Stream | Note;
  /** Unix seconds of the event that began it. */
  readonly t: number;
  text: string;
  runs: Run[];
}

/** What it takes in memory, about. */
export const size = (line: Line): number => 64 + line.text.length + 24 * line.runs.length;

export function append(line: Line, text: string, style: Style): void {
  const from = line.text.length;
  const to = from + text.length;
  const last = line.runs.at(-1);
  line.text += text;
  if (style === PLAIN) return;
  if (last?.to === from && same(last.style, style)) last.to = to;
  else line.runs.push({ from, to, style });
}

/** Write over what is there. Half of a pair that is cut becomes a space, as in a terminal. */
export function overwrite(line: Line, column: number, text: string, style: Style): void {
  const to = column + text.length;
  const { text: old } = line;
  const after = isLow(old, to) ? ` ${old.slice(to + 1)}` : old.slice(to);
  const runs = line.runs.filter((run) => run.from < column || run.to > to);
  const kept = runs.flatMap((run) => [
    ...(run.from < column ? [{ ...run, to: Math.min(run.to, column) }] : []),
    ...(run.to > to ? [{ ...run, from: Math.max(run.from, to) }] : []),
  ]);
  if (style !== PLAIN) kept.push({ from: column, to, style });
  line.text = before(line, column) + text + after;
  line.runs = joined(kept);
}

export function truncate(line: Line, column: number): void {
  line.text = before(line, column);
  line.runs = line.runs
    .filter((run) => run.from < column)
    .map((run) => ({ ...run, to: Math.min(run.to, column) }));
}

function before({ text }: Line, column: number): string {
  const isCut = column > 0 && (text.charCodeAt(column - 1) & 0xfc00) === 0xd800;
  return isCut ? `${text.slice(0, column - 1)} ` : text.slice(0, column);
}

const isLow = (text: string, at: number): boolean => (text.charCodeAt(at) & 0xfc00) === 0xdc00;

/** In order, neighbours of one style as one. */
function joined(runs: Run[]): Run[] {
  runs.sort((a, b) => a.from - b.from);
  const found: Run[] = [];
  for (const run of runs) {
    const last = found.at(-1);
    if (last?.to === run.from && same(last.style, run.style)) last.to = run.to;
    else found.push(run);
  }
  return found;
}

/** Tabs as spaces, if the line stays within `most`; where a column went. */
export function expand(line: Line, column: number, most: number): number {
  const { text } = line;
  if (!text.includes("\t")) return column;
  const places: number[] = [];
  let wide = "";
  for (const unit of text.split("")) {
    places.push(wide.length);
    wide += unit === "\t" ? " ".repeat(8 - (wide.length % 8)) : unit;
  }
  places.push(wide.length);
  if (wide.length > most) return column;
  const place = (at: number): number => places[at] ?? at;
  line.text = wide;
  line.runs = line.runs.map((run) => ({ ...run, from: place(run.from), to: place(run.to) }));
  return place(column);
}
