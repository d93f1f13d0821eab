import { expect, test } from "vitest";
import { Exact, parse, parseFrame, stringify } from "../src/exact.ts";
import { bytes, seconds } from "../src/format.ts";
import { best, imageAddress, isReference } from "../src/mime.ts";
import { tableOf, toCsv } from "../src/table.ts";

const hasSource = JSON.parse("1", (_key, _value, context?: { source?: string }) => context?.source);

test.runIf(hasSource)("numbers stay what they were written as", () => {
  const text = '{"big":9007199254740993,"whole":1.0,"list":[1e400,2.5]}';
  const value = parse(text) as Record<string, unknown>;
  expect(value.big).toEqual(new Exact("9007199254740993"));
  expect(stringify(value, 0)).toBe(text);
});

test("of a frame only values keep their numbers exact", () => {
  const frame = parseFrame(
    '{"type":"events","first":1,"last":2,"events":[{"type":"result","seq":1,"t":1.0,"value":3},' +
      '{"type":"progress","seq":2,"t":2.50,"value":1.0},{"type":"end","seq":3,"t":2.0,"elapsed":4.0}]}',
  );
  expect(frame.events).toEqual([
    { type: "result", seq: 1, t: 1, value: 3 },
    { type: "progress", seq: 2, t: 2.5, value: 1 },
    { type: "end", seq: 3, t: 2, elapsed: 4 },
  ]);
});

test("flat records and even columns are tables, nothing else is", () => {
  const rows = tableOf([
    { a: 1, b: "x" },
    { a: null, c: true },
  ]);
  expect([rows?.columns, rows?.length]).toEqual([["a", "b", "c"], 2]);
  expect(toCsv(rows as NonNullable<typeof rows>)).toBe("a,b,c\r\n1,x,\r\n,,true\r\n");
  const columns = tableOf({ n: [1, 2], t: ['say "hi"', "a,b"] });
  expect(toCsv(columns as NonNullable<typeof columns>)).toBe(
    'n,t\r\n1,"say ""hi"""\r\n2,"a,b"\r\n',
  );
  for (const other of [[], [1, 2], [{ a: { b: 1 } }], { a: [1], b: [1, 2] }, { a: 1 }, null, "x"])
    expect(tableOf(other)).toBeNull();
});

test("of a bundle the richest part is shown, SVG as an image", () => {
  const part = best({ "text/plain": "x", "image/svg+xml": ["<svg>", "</svg>"], "image/png": "AA" });
  expect(part).toMatchObject({ mime: "image/svg+xml", way: "image" });
  expect(imageAddress(part as NonNullable<typeof part>, "/data")).toBe(
    "data:image/svg+xml;charset=utf-8,%3Csvg%3E%3C%2Fsvg%3E",
  );
  expect(best({ "text/plain": "x", "text/html": "<p>" })?.way).toBe("frame");
  expect(best({ "text/plain": "x", "application/vnd.plotly.v1+json": {} })?.mime).toBe(
    "text/plain",
  );
  expect(best({})).toBeNull();
});

test("only a path of ours is a reference", () => {
  expect(isReference({ ref: "/djsci/x", size: 1 })).toBe(true);
  for (const other of [{ ref: "javascript:alert(1)", size: 1 }, { ref: "/x" }, "/x", null])
    expect(isReference(other)).toBe(false);
});

test("times have two units at most, sizes one", () => {
  expect([0.421, 9.5, 59.6, 60, 185, 3_600, 7_830].map(seconds)).toEqual([
    "0.42 s",
    "9.5 s",
    "1 min",
    "1 min",
    "3 min 5 s",
    "1 h",
    "2 h 10 min",
  ]);
  expect([0, 1_023, 1_024, 13_000_000].map(bytes)).toEqual([
    "0 bytes",
    "1,023 bytes",
    "1.0 KiB",
    "12.4 MiB",
  ]);
});
