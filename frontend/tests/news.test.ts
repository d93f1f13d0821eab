import { expect, test } from "vitest";
import { words } from "../src/pages/news";

test("news are told in words, and only where there are any", () => {
  expect(words({ new: 0, ended: 0 })).toBe("");
  expect(words({ new: 1, ended: 0 })).toBe("1 new run");
  expect(words({ new: 3, ended: 1 })).toBe("3 new runs, 1 has ended");
  expect(words({ new: 100, ended: 2 })).toBe("99+ new runs, 2 have ended");
});
