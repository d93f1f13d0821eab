// Placeholder of the scaffold: the first real test takes its place.
import { expect, test } from "vitest";

test("numbers too large for JavaScript lose digits in JSON.parse", () => {
  expect(JSON.stringify(JSON.parse("9007199254740993"))).not.toBe("9007199254740993");
});
