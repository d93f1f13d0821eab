// What terminal codes mean: one token at a time, the pen's style, and the style's classes.

/** No colour, one of the 16 named ones (0-15), or 16 + 0xRRGGBB. */
export type Colour = number;
export interface Style {
  readonly fg: Colour;
  readonly bg: Colour;
  readonly flags: number;
}
export const NONE = -1;
export const RGB = 16;
export const BOLD = 1;
export const DIM = 2;
export const ITALIC = 4;
export const UNDERLINE = 8;
export const REVERSE = 16;
export const STRIKE = 32;
export const PLAIN: Style = { fg: NONE, bg: NONE, flags: 0 };

export const same = (a: Style, b: Style): boolean =>
  a === b || (a.fg === b.fg && a.bg === b.bg && a.flags === b.flags);

export type Token =
  | { kind: "text" | "control" | "code"; text: string }
  | { kind: "sequence"; final: string; parameters: string };

/** An unfinished escape waits for its rest, but no longer than this. */
export const LONGEST_ESCAPE = 4096;

// C1 and what turns or breaks a line of text invisibly: drawn as codes, never obeyed.
const HIDDEN = "\\x80-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069";
const TEXT = new RegExp(`[^\\0-\\x1f\\x7f${HIDDEN}]+`, "y");
const CODE = new RegExp(`[${HIDDEN}]`, "y");
const CSI = new RegExp(`\\x1b\\[[ -?]{0,${LONGEST_ESCAPE - 2}}`, "y");
const OTHER = /\x1b[ -/]{0,9}/y;
const STRING_END = /[\x07\x18\x1a\x1b\n\x9c]/g;
const HALF = /[\ud800-\udbff]$/;

/** Cuts one stream's text into tokens; what is unfinished at the end of a piece waits. */
export class Reader {
  #rest = "";
  #inString = false;

  *read(piece: string): Generator<Token, void> {
    const text = this.#rest + piece;
    this.#rest = "";
    let at = 0;
    while (at < text.length) {
      if (this.#inString) {
        // OSC, DCS and their like end at their mark, at any escape, or at the end of the line:
        // an endless one hides no more than its own line and takes no memory.
        STRING_END.lastIndex = at;
        const end = STRING_END.exec(text);
        if (!end) return;
        at = end.index + (end[0] === "\n" || end[0] === "\x1b" ? 0 : 1);
        this.#inString = false;
        continue;
      }
      TEXT.lastIndex = at;
      if (TEXT.test(text)) {
        const plain = text.slice(at, TEXT.lastIndex);
        at = TEXT.lastIndex;
        if (at === text.length && HALF.test(plain)) {
          this.#rest = plain.slice(-1);
          if (plain.length > 1) yield { kind: "text", text: plain.slice(0, -1) };
        } else {
          yield { kind: "text", text: plain };
        }
        continue;
      }
      if (text[at] !== "\x1b") {
        CODE.lastIndex = at;
        const kind = CODE.test(text) ? "code" : "control";
        yield { kind, text: text.charAt(at++) };
        continue;
      }
      const shape = text[at + 1] === "[" ? CSI : OTHER;
      shape.lastIndex = at;
      const found = shape.exec(text)?.[0] ?? "";
      const next = at + found.length;
      if (next === text.length && found.length < LONGEST_ESCAPE) {
        this.#rest = found;
        return;
      }
      const final = text.charAt(next);
      at = next;
      if (found.length === LONGEST_ESCAPE) continue;
      if (shape === CSI) {
        if (final < "@" || final > "~") continue;
        at++;
        yield { kind: "sequence", final, parameters: found.slice(2) };
      } else if (final >= "0" && final <= "~") {
        at++;
        this.#inString = found.length === 1 && "]PX^_".includes(final);
      }
    }
  }

  /** No more text comes: half a character is shown, half an escape is not. */
  end(): string {
    const rest = HALF.test(this.#rest) ? this.#rest : "";
    this.#rest = "";
    return rest;
  }
}

const FLAGS: Record<number, number> = {
  1: BOLD,
  2: DIM,
  3: ITALIC,
  4: UNDERLINE,
  7: REVERSE,
  9: STRIKE,
  21: UNDERLINE,
};
const FLAGS_OFF: Record<number, number> = {
  22: BOLD | DIM,
  23: ITALIC,
  24: UNDERLINE,
  27: REVERSE,
  29: STRIKE,
};

/** The pen after an SGR sequence. */
export function drawn(pen: Style, parameters: string): Style {
  let { fg, bg, flags } = pen;
  const parts = parameters.split(";");
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i] ?? "";
    const code = Number.parseInt(part || "0", 10);
    if (code === 38 || code === 48 || code === 58) {
      const [colour, used] = part.includes(":")
        ? [extended(part.split(":").slice(1), true)[0], 0]
        : extended(parts.slice(i + 1, i + 5), false);
      i += used;
      if (colour !== undefined && code === 38) fg = colour;
      if (colour !== undefined && code === 48) bg = colour;
    } else if (code === 0) {
      ({ fg, bg, flags } = PLAIN);
    } else if (part === "4:0") {
      flags &= ~UNDERLINE;
    } else if (FLAGS[code]) {
      flags |= FLAGS[code];
    } else if (FLAGS_OFF[code]) {
      flags &= ~FLAGS_OFF[code];
    } else if (code >= 30 && code <= 39) {
      fg = code === 39 ? NONE : code - 30;
    } else if (code >= 40 && code <= 49) {
      bg = code === 49 ? NONE : code - 40;
    } else if (code >= 90 && code <= 97) {
      fg = code - 82;
    } else if (code >= 100 && code <= 107) {
      bg = code - 92;
    }
  }
  const made = { fg, bg, flags };
  return same(made, PLAIN) ? PLAIN : made;
}

/** The colour after 38 or 48, and how many parameters it took. */
function extended(parts: string[], isColon: boolean): [Colour | undefined, number] {
  const numbers = parts.map((part) => Math.min(255, Number.parseInt(part || "0", 10) || 0));
  if (numbers[0] === 5) return [palette(numbers[1] ?? 0), 2];
  if (numbers[0] !== 2) return [undefined, 0];
  const [red = 0, green = 0, blue = 0] = isColon ? numbers.slice(-3) : numbers.slice(1);
  return [RGB + red * 65536 + green * 256 + blue, 4];
}

/** xterm's 256 colours: 16 named, a cube, greys. */
function palette(index: number): Colour {
  if (index < 16) return index;
  if (index >= 232) return RGB + (8 + 10 * (index - 232)) * 0x010101;
  const level = (step: number) => (step ? 55 + 40 * step : 0);
  const cube = index - 16;
  const [red, green, blue] = [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6];
  return RGB + level(red) * 65536 + level(green) * 256 + level(blue);
}

const NAMES = ["bold", "dim", "italic", "underline", "reverse", "strike"];

/** The classes of a style; true colours are given to the element as `--fc` and `--bc`. */
export function classes({ fg, bg, flags }: Style): string {
  let names = "dj-s";
  if (fg !== NONE) names += ` dj-f${fg < RGB ? fg : "x"}`;
  if (bg !== NONE) names += ` dj-on dj-b${bg < RGB ? bg : "x"}`;
  for (let i = 0; i < NAMES.length; i++) if (flags & (1 << i)) names += ` dj-${NAMES[i]}`;
  return names;
}

export const hex = (colour: Colour): string => `#${(colour - RGB).toString(16).padStart(6, "0")}`;
