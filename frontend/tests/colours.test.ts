// Every colour of the log can be read on its ground, in both themes: from the sheets themselves.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const SHEET = ["tokens.css", "log.css"]
  .map((name) => readFileSync(new URL(`../src/${name}`, import.meta.url), "utf8"))
  .join("\n")
  .replace(/\s+/g, " ");
const THEMES = ["light", "dark"] as const;
type Theme = (typeof THEMES)[number];
/** Linear sRGB. */
type Colour = [number, number, number];

function parsed(text: string): Colour {
  const digits = text.length === 4 ? text.replace(/[^#]/g, "$&$&") : text;
  const at = (i: number): number => Number.parseInt(digits.slice(i, i + 2), 16) / 255;
  return [linear(at(1)), linear(at(3)), linear(at(5))];
}
const linear = (value: number): number =>
  value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;

function token(name: string, theme: Theme): Colour {
  const other = new RegExp(`--${name}: var\\(--(\\w+)\\)`).exec(SHEET)?.[1];
  if (other) return token(other, theme);
  const found = new RegExp(`--${name}: light-dark\\( ?(#\\w+), (#\\w+) ?\\)`).exec(SHEET);
  if (!found?.[1] || !found[2]) throw new Error(`no token --${name}`);
  return parsed(theme === "light" ? found[1] : found[2]);
}

/** OKLCH of a colour, after Ottosson; and back, what is out of gamut clipped as browsers do. */
function toLch([r, g, b]: Colour): [number, number, number] {
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  const a = 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s;
  const c = 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s;
  const light = 0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s;
  return [light, Math.hypot(a, c), Math.atan2(c, a)];
}
function fromLch([light, chroma, hue]: [number, number, number]): Colour {
  const [a, b] = [chroma * Math.cos(hue), chroma * Math.sin(hue)];
  const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((value) => Math.min(1, Math.max(0, value))) as Colour;
}

/** `light-dark(oklch(from var(--<of>) min(l, .5) c h), …)` as the sheet has it. */
function clamp(of: string, theme: Theme): (colour: Colour) => Colour {
  const one = `oklch\\(from var\\(--${of}\\) (\\w+)\\(l, ([\\d.]+)\\) (?:(\\w+)\\(c, ([\\d.]+)\\)|c) h\\)`;
  const found = new RegExp(`light-dark\\( ?${one}, ${one} ?\\)`).exec(SHEET);
  if (!found) throw new Error(`no clamp of --${of}`);
  const [side, bound, , most] = found.slice(theme === "light" ? 1 : 5);
  return (colour) => {
    const [l, c, h] = toLch(colour);
    const light = side === "min" ? Math.min(l, Number(bound)) : Math.max(l, Number(bound));
    return fromLch([light, most ? Math.min(c, Number(most)) : c, h]);
  };
}

const luminance = ([r, g, b]: Colour): number => 0.2126 * r + 0.7152 * g + 0.0722 * b;
function contrast(one: Colour, other: Colour): number {
  const [a, b] = [luminance(one), luminance(other)].sort((x, y) => y - x) as [number, number];
  return (a + 0.05) / (b + 0.05);
}
const NAMED = Array.from({ length: 16 }, (_, i) => `a${i}`);
const STEPS = Array.from({ length: 9 }, (_, i) => linear(i / 8));
const CUBE = STEPS.flatMap((r) => STEPS.flatMap((g) => STEPS.map((b): Colour => [r, g, b])));

/** The pairs below the bar, worst first. */
const poor = (pairs: [string, Colour, Colour][]): string[] =>
  pairs
    .map(([name, a, b]): [string, number] => [name, contrast(a, b)])
    .filter(([, ratio]) => ratio < 4.5)
    .sort((a, b) => a[1] - b[1])
    .map(([name, ratio]) => `${name} ${ratio.toFixed(2)}`)
    .slice(0, 8);

test.each(THEMES)("the 16 colours and all true colours reach 4.5:1 on the log, %s", (theme) => {
  const ground = token("code", theme);
  const words = [...NAMED, "ink", "quiet", "warn", "bad", "accent"];
  expect(poor(words.map((name) => [name, token(name, theme), ground]))).toEqual([]);
  const text = clamp("fx", theme);
  expect(poor(CUBE.map((colour) => [String(colour), text(colour), ground]))).toEqual([]);
});

test.each(THEMES)("every colour reaches 4.5:1 on every coloured ground, %s", (theme) => {
  const [text, ground, on] = [clamp("fx", theme), clamp("bx", theme), clamp("f", theme)];
  const named = [...NAMED, "ink"].map((name) => token(name, theme));
  const texts = [...named, ...CUBE.map(text)].map(on).sort((a, b) => luminance(a) - luminance(b));
  const grounds = [...named, ...CUBE].map(ground).sort((a, b) => luminance(a) - luminance(b));
  // Contrast knows luminance only: the nearest pair is the worst of all.
  const [nearText, nearGround] =
    theme === "light" ? [texts.at(-1), grounds[0]] : [texts[0], grounds.at(-1)];
  expect(texts.length * grounds.length).toBeGreaterThan(500_000);
  expect(contrast(nearText as Colour, nearGround as Colour)).toBeGreaterThanOrEqual(4.5);
});

test("the arithmetic is the browsers'", () => {
  expect(contrast(parsed("#fff"), parsed("#767676"))).toBeCloseTo(4.54, 2);
  const [l, c, h] = toLch(parsed("#ff0000"));
  expect([l, c, (h * 180) / Math.PI].map((value) => value.toFixed(3))).toEqual([
    "0.628",
    "0.258",
    "29.234",
  ]);
});
