// Lines as parts of a page, without a page: text, styled runs, stretches of one kind.

import { classes, PLAIN, type Style } from "./ansi";
import type { Line } from "./lines";

export const DRAWN = 20_000;

/** Text, or an element: a styled run, a stretch of one kind, the button of a line that is cut. */
export type Kid = string | Part;
export interface Part {
  name: string;
  style?: Style;
  more?: number;
  line?: number;
  kids: Kid[];
}

/** As few parts as there can be: one text for all plain lines that follow one another. */
export function parts(lines: Line[], whole: ReadonlySet<number>): Kid[] {
  const kids: Kid[] = [];
  let stretch = kids;
  let kind = "stdout";
  for (const line of lines) {
    if (line.kind !== kind) {
      kind = line.kind;
      stretch = kids;
      if (kind !== "stdout") {
        stretch = [];
        kids.push({ name: `dj-part dj-${kind}`, kids: stretch });
      }
    }
    addLine(stretch, line, line.text.length > DRAWN && !whole.has(line.number));
  }
  return kids;
}

function addLine(kids: Kid[], line: Line, isCut: boolean): void {
  const text = isCut ? line.text.slice(0, DRAWN) : line.text;
  let at = 0;
  for (const { from, to, style } of line.runs) {
    if (from >= text.length) break;
    addText(kids, text.slice(at, from));
    addText(kids, text.slice(from, to), style);
    at = to;
  }
  addText(kids, text.slice(at));
  if (isCut) {
    kids.push({ name: "dj-more", more: line.text.length - DRAWN, line: line.number, kids: [] });
  }
  addText(kids, "\n");
}

function addText(kids: Kid[], text: string, style = PLAIN): void {
  const last = kids.length - 1;
  if (!text) return;
  if (style !== PLAIN) kids.push({ name: classes(style), style, kids: [text] });
  else if (typeof kids[last] === "string") kids[last] += text;
  else kids.push(text);
}

/** What stands beside lines: their numbers, and their times. */
export function numbers(lines: Line[], isTimed: boolean): string[] {
  return lines.map((line) => {
    const number = String(line.number + 1).padStart(4);
    return isTimed ? `${clock(line.t)} ${number}` : number;
  });
}

/** A time of day, to the millisecond, where the reader is. */
function clock(t: number): string {
  const at = new Date(t * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const seconds = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return `${seconds}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
