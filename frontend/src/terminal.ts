// The log's store: text of streams in, lines with their styles out; it knows no page.

import { drawn, PLAIN, REVERSE, Reader } from "./ansi";
import {
  append,
  expand,
  type Line,
  type Note,
  overwrite,
  type Stream,
  size,
  truncate,
} from "./lines";

export const LAST_COLUMN = 10_000;
export const FARTHEST_UP = 1_000;
const LONGEST_LINE = 1 << 25;

/** One stream's pen and cursor, which moves over the stream's own lines only. */
class Cursor {
  readonly reader = new Reader();
  readonly lines: Line[] = [];
  at = 0;
  column = 0;
  pen = PLAIN;
  constructor(readonly kind: Stream | Note) {}
}

export interface Limits {
  lines: number;
  size: number;
}

export class Terminal {
  /** The oldest line that is kept, and one after the newest; numbers count from 0. */
  first = 0;
  end = 0;
  /** Lines made or changed since somebody emptied it. */
  readonly changed = new Set<number>();
  readonly #lines: Line[] = [];
  readonly #cursors = { stdout: new Cursor("stdout"), stderr: new Cursor("stderr") };
  #size = 0;
  #t = 0;

  constructor(readonly limits: Limits = { lines: 500_000, size: 128 << 20 }) {}

  line(number: number): Line | undefined {
    return this.#lines[number - this.first];
  }

  write(stream: Stream, text: string, t: number): void {
    this.#t = t;
    this.#write(this.#cursors[stream], text);
    this.#forget();
  }

  /** Whole lines of our own: codes in them colour them, and touch no other line. */
  note(kind: Note, text: string, t: number): void {
    this.#t = t;
    this.#write(new Cursor(kind), text.endsWith("\n") ? text : `${text}\n`);
    this.#forget();
  }

  finish(): void {
    for (const cursor of Object.values(this.#cursors)) {
      const rest = cursor.reader.end();
      if (rest) this.#put(cursor, rest);
    }
  }

  #write(cursor: Cursor, text: string): void {
    for (const token of cursor.reader.read(text)) {
      if (token.kind === "text") this.#put(cursor, token.text);
      else if (token.kind === "control") this.#control(cursor, token.text);
      else if (token.kind === "sequence") this.#sequence(cursor, token.final, token.parameters);
      else this.#code(cursor, token.text);
    }
  }

  #code(cursor: Cursor, character: string): void {
    const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
    const pen = cursor.pen;
    cursor.pen = { ...pen, flags: pen.flags ^ REVERSE };
    this.#put(cursor, `<U+${code}>`);
    cursor.pen = pen;
  }

  #control(cursor: Cursor, character: string): void {
    if (character === "\n") {
      this.#here(cursor);
      cursor.at++;
      cursor.column = 0;
    } else if (character === "\r") {
      cursor.column = 0;
    } else if (character === "\b") {
      this.#move(cursor, -1);
    } else if (character === "\t") {
      const length = this.#there(cursor)?.text.length ?? 0;
      // At the end of its line a tab stays one, so that a copied table keeps it.
      if (cursor.column === length) this.#put(cursor, "\t");
      else cursor.column = Math.min(LAST_COLUMN, (Math.floor(cursor.column / 8) + 1) * 8);
    }
  }

  #sequence(cursor: Cursor, final: string, parameters: string): void {
    if (/[^\d:;]/.test(parameters)) return;
    if (final === "m") {
      cursor.pen = drawn(cursor.pen, parameters);
      return;
    }
    const given = Number.parseInt(parameters, 10) || 0;
    const count = Math.min(given || 1, LAST_COLUMN);
    if (final === "A") {
      cursor.at = Math.max(cursor.at - count, cursor.lines.length - FARTHEST_UP, 0);
    } else if (final === "B") {
      cursor.at = Math.min(cursor.at + count, cursor.lines.length);
    } else if (final === "C") {
      this.#move(cursor, count);
    } else if (final === "D") {
      this.#move(cursor, -count);
    } else if (final === "G") {
      this.#move(cursor, count - 1 - cursor.column);
    } else if (final === "K") {
      this.#erase(cursor, given);
    }
  }

  /** Sideways; a line that is longer than the last column only grows. */
  #move(cursor: Cursor, by: number): void {
    const line = this.#there(cursor);
    if (line && line.text.length > LAST_COLUMN) return;
    if (line) this.#expand(cursor, line);
    cursor.column = Math.max(0, Math.min(cursor.column + by, LAST_COLUMN));
  }

  #erase(cursor: Cursor, part: number): void {
    const line = this.#there(cursor);
    if (!line || line.text.length > LAST_COLUMN) return;
    this.#expand(cursor, line);
    const { column } = cursor;
    const isAll = part === 2 || (part === 1 && column + 1 >= line.text.length);
    this.#size -= size(line);
    if (isAll) truncate(line, 0);
    else if (part === 1) overwrite(line, 0, " ".repeat(column + 1), PLAIN);
    else if (part === 0) truncate(line, column);
    this.#edited(line);
  }

  /** Tabs become spaces once somebody moves about in their line: a unit is then a column. */
  #expand(cursor: Cursor, line: Line): void {
    this.#size -= size(line);
    cursor.column = expand(line, cursor.column, LAST_COLUMN);
    this.#edited(line);
  }

  /** The cursor's line; what was let go is not there any more. */
  #there(cursor: Cursor): Line | undefined {
    const line = cursor.lines[cursor.at];
    return line && line.number >= this.first ? line : undefined;
  }

  /** The cursor's line, made where there is none yet. */
  #here(cursor: Cursor): Line {
    const line = this.#there(cursor);
    if (line) return line;
    const { lines } = cursor;
    if (cursor.at < lines.length) lines.length = 0;
    const [number, kind, t] = [this.end++, cursor.kind, this.#t];
    const made: Line = { number, kind, t, text: "", runs: [] };
    this.#lines.push(made);
    this.#size += size(made);
    this.changed.add(made.number);
    cursor.at = lines.push(made) - 1;
    if (lines.length > 2 * FARTHEST_UP) {
      cursor.at -= lines.splice(0, lines.length - FARTHEST_UP).length;
    }
    return made;
  }

  #put(cursor: Cursor, text: string): void {
    let line = this.#here(cursor);
    cursor.column = Math.min(cursor.column, Math.max(LAST_COLUMN, line.text.length));
    while (
      line.text.length >= LONGEST_LINE ||
      (line.text.length > LAST_COLUMN && cursor.column < line.text.length)
    ) {
      cursor.at++;
      cursor.column = 0;
      line = this.#here(cursor);
    }
    if (cursor.column < line.text.length) this.#expand(cursor, line);
    this.#size -= size(line);
    if (cursor.column > line.text.length) line.text = line.text.padEnd(cursor.column);
    if (cursor.column === line.text.length) append(line, text, cursor.pen);
    else overwrite(line, cursor.column, text, cursor.pen);
    this.#edited(line);
    cursor.column += text.length;
  }

  #edited(line: Line): void {
    this.#size += size(line);
    this.changed.add(line.number);
  }

  /** Let the oldest lines go, a block's worth at a time. */
  #forget(): void {
    while (
      this.#lines.length > 1 &&
      (this.#lines.length > this.limits.lines || this.#size > this.limits.size)
    ) {
      const gone = this.#lines.splice(0, Math.min(250, this.#lines.length - 1));
      for (const line of gone) {
        this.#size -= size(line);
        this.changed.delete(line.number);
      }
      this.first += gone.length;
    }
  }
}
