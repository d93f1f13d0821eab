// What a log puts on a page, without a page: few parts however many lines, and the filter's rows.
import { expect, test } from "vitest";
import type { Line } from "../src/lines";
import { DRAWN, type Kid, numbers, parts } from "../src/parts";
import { MOST_HITS, Sieve } from "../src/sieve";
import { Terminal } from "../src/terminal";

const lines = (terminal: Terminal): Line[] =>
  Array.from({ length: terminal.end }, (_, at) => terminal.line(at) as Line);
const count = (kids: Kid[]): number =>
  kids.reduce((sum, kid) => sum + (typeof kid === "string" ? 1 : 1 + count(kid.kids)), 0);
const text = (kids: Kid[]): string =>
  kids.map((kid) => (typeof kid === "string" ? kid : text(kid.kids))).join("");
const drawn = (terminal: Terminal): Kid[] => parts(lines(terminal), new Set());

test("plain lines are one text, a stretch of stderr one element, a styled run one more", () => {
  const terminal = new Terminal();
  for (let at = 0; at < 250; at++) terminal.write("stdout", `line ${at}\n`, 0);
  expect(drawn(terminal)).toHaveLength(1);
  for (let at = 0; at < 250; at++) terminal.write("stderr", `line ${at}\n`, 0);
  expect(drawn(terminal).map((kid) => (typeof kid === "string" ? "text" : kid.name))).toEqual([
    "text",
    "dj-part dj-stderr",
  ]);
  expect(count(drawn(terminal))).toBe(3);
  terminal.write("stdout", "a \u001b[1;31mred\u001b[0m word\n\n", 0);
  expect(count(drawn(terminal))).toBe(7);
  expect(text(drawn(terminal))).toBe(
    `${lines(terminal)
      .map((line) => line.text)
      .join("\n")}\n`,
  );
});

test("a long line is cut with a button, until somebody wants all of it", () => {
  const terminal = new Terminal();
  terminal.write("stdout", `${"x".repeat(30_000)}\nnext\n`, 0);
  const [start, button, rest] = drawn(terminal);
  expect([start, rest]).toEqual(["x".repeat(DRAWN), "\nnext\n"]);
  expect(button).toMatchObject({ name: "dj-more", more: 10_000, line: 0 });
  expect(parts(lines(terminal), new Set([0]))).toEqual([`${"x".repeat(30_000)}\nnext\n`]);
});

test("numbers and times stand beside the lines, not in them", () => {
  const terminal = new Terminal();
  terminal.write("stdout", "a\nb\n", new Date(2026, 0, 2, 3, 4, 5, 6).getTime() / 1000);
  expect(numbers(lines(terminal), false)).toEqual(["   1", "   2"]);
  expect(numbers(lines(terminal), true)[1]).toBe("03:04:05.006    2");
});

test("a filter keeps its rows while lines come, change and go", () => {
  const terminal = new Terminal({ lines: 1000, size: 1 << 24 });
  terminal.write("stdout", "Apple\nbanana\n", 0);
  terminal.write("stderr", "apple 0%", 0);
  const sieve = new Sieve(terminal, { text: "APPLE", stream: "all" });
  const found = (): (string | undefined)[] =>
    Array.from({ length: sieve.end - sieve.first }, (_, at) => sieve.at(sieve.first + at)?.text);
  expect(sieve.look(Number.POSITIVE_INFINITY)).toBe(false);
  expect(found()).toEqual(["Apple", "apple 0%"]);
  terminal.write("stderr", "\rapple 9%", 0);
  expect(sieve.again(2)).toEqual([1, false]);
  terminal.write("stderr", "\r\u001b[Kgone", 0);
  expect(sieve.again(2)).toEqual([1, true]);
  expect(sieve.again(1)).toBeUndefined();
  terminal.write("stdout", "\u001b[Aan apple", 0);
  expect(sieve.again(1)).toEqual([1, true]);
  expect(found()).toEqual(["Apple", "an apple"]);
  expect(sieve.row(1)).toBe(1);
  for (let at = 0; at < 1500; at++)
    terminal.write("stdout", `\n${at % 3 ? "pear" : "apple"} ${at}`, 0);
  sieve.look(Number.POSITIVE_INFINITY);
  expect(sieve.at(sieve.first)?.number).toBeGreaterThanOrEqual(terminal.first);
  expect(found().every((line) => line?.includes("apple"))).toBe(true);
  expect(sieve.end - sieve.first).toBeGreaterThan(200);
});

test("a filter looks a little at a time and stops at its most hits", () => {
  const terminal = new Terminal();
  terminal.write("stdout", "hit\n".repeat(MOST_HITS + 500), 0);
  const sieve = new Sieve(terminal, { text: "", stream: "stdout" });
  expect([sieve.look(Number.NEGATIVE_INFINITY), sieve.end]).toEqual([true, 64]);
  expect([sieve.look(Number.NEGATIVE_INFINITY), sieve.end]).toEqual([true, 128]);
  expect(sieve.look(Number.POSITIVE_INFINITY)).toBe(false);
  expect([sieve.end, sieve.isFull]).toEqual([MOST_HITS, true]);
});
