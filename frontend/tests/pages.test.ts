// What the small scripts of the pages decide, without a page.

import { expect, test } from "vitest";
import { ago } from "../src/pages/ago.ts";
import { entryOf, problems } from "../src/pages/drop.ts";

test("ages are told in one unit, and old dates are left alone", () => {
  expect([0, 59, 60, 7199, 86_400, 99 * 86_400].map(ago)).toEqual([
    "just now",
    "59 s ago",
    "1 min ago",
    "1 h ago",
    "1 d ago",
    null,
  ]);
});

test("of dropped files the notebook runs, else the first Python file", () => {
  const named = (...names: string[]) => entryOf(names.map((name) => ({ name })))?.name;
  expect(named("a.csv", "helpers.py", "Report.IPYNB")).toBe("Report.IPYNB");
  expect(named("a.csv", "b.py", "c.py")).toBe("b.py");
  expect(named("a.csv")).toBeUndefined();
});

test("a refusal names cell, line or field", () => {
  expect(
    problems({
      errors: [
        { cell: 3, line: 2, message: "invalid syntax" },
        { line: 7, message: "odd" },
        { field: "name", message: "taken" },
        { message: "all of it" },
      ],
    }),
  ).toEqual(["Cell 3, line 2: invalid syntax", "Line 7: odd", "name: taken", "all of it"]);
  expect(problems({ detail: "Too large." })).toEqual(["Too large."]);
});
