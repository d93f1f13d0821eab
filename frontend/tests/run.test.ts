import { expect, test } from "vitest";
import type { RunEvent, Said } from "../src/events.ts";
import { Run } from "../src/run.ts";

class Notes {
  text = "";
  notes: string[] = [];
  lines = 0;
  write(_stream: string, text: string): void {
    this.text += text;
    this.lines += text.split("\n").length - 1;
  }
  note(kind: string, text: string): void {
    this.notes.push(`${kind}: ${text}`);
    this.lines += text.split("\n").length;
  }
  clearMark(): void {
    this.notes.push("cleared");
  }
  end(): void {
    this.notes.push("end");
  }
}

const numbered = (events: Said[]): RunEvent[] =>
  events.map((event, at) => ({ ...event, seq: at + 1, t: 100 + at }));

function after(...events: Said[]) {
  const notes = new Notes();
  const run = new Run({ state: "queued", started: null, head: 0 }, notes);
  expect(run.apply(numbered(events))).toBe(true);
  return { run, notes };
}

const shown = (text: string, cell?: number, id: string | null = null): Said => ({
  type: "display_data",
  data: { "text/plain": text },
  metadata: {},
  display_id: id,
  ...(cell !== undefined && { cell }),
});
const texts = (run: Run) => run.outputs.map((one) => one.data["text/plain"]);

test("seen events are dropped, missing ones are told", () => {
  const events = numbered(
    [1, 2, 3, 4].map((n) => ({ type: "stream", name: "stdout", text: `${n}` })),
  );
  const notes = new Notes();
  const run = new Run({ state: "running", started: 1, head: 0 }, notes);
  expect(run.apply(events.slice(0, 2))).toBe(true);
  expect(run.apply(events.slice(0, 3))).toBe(true);
  expect(run.apply(events.slice(0, 3))).toBe(true);
  expect([run.last, notes.text]).toEqual([3, "123"]);
  expect(run.apply([{ ...(events[3] as RunEvent), seq: 5 }])).toBe(false);
  expect(run.apply(events)).toBe(true);
  expect([run.last, notes.text]).toEqual([4, "1234"]);
});

test("unknown types are passed over, and counted", () => {
  const { run } = after({ type: "of the future" } as unknown as Said, shown("a"));
  expect([run.last, texts(run)]).toEqual([2, ["a"]]);
});

test("a late reader sees the state of now while the log is told from its beginning", () => {
  const run = new Run({ state: "succeeded", started: 1, head: 3 }, new Notes());
  const states = numbered([
    { type: "status", state: "queued" },
    { type: "status", state: "running" },
    { type: "end", state: "succeeded", elapsed: 1, reason: "", abandoned: false },
  ]).map((event) => [run.apply([event]), run.state]);
  expect(states).toEqual([1, 2, 3].map(() => [true, "succeeded"]));
});

test("displays of one id replace, in their place and with the newest event's address", () => {
  const { run } = after(
    shown("bar 0", 1, "bar"),
    shown("plot", 1),
    { ...shown("bar 1", 1, "bar"), type: "update_display_data" } as Said,
    shown("bar 2", 1, "bar"),
    { ...shown("lost", 1, "unknown"), type: "update_display_data" } as Said,
  );
  expect(texts(run)).toEqual(["bar 2", "plot"]);
  expect(run.outputs.map((one) => one.seq)).toEqual([4, 2]);
});

test("clear_output clears its own cell at once, or when the next output comes", () => {
  const cleared = after(shown("a", 1), shown("b", 2), {
    type: "clear_output",
    wait: false,
    cell: 2,
  });
  expect(texts(cleared.run)).toEqual(["a"]);
  expect(cleared.notes.notes).toEqual(["cleared"]);

  const waiting = after(shown("a", 1), shown("b", 2), {
    type: "clear_output",
    wait: true,
    cell: 2,
  });
  expect(texts(waiting.run)).toEqual(["a", "b"]);
  const [, before] = waiting.run.outputs.map((one) => one.key);
  waiting.run.apply([{ ...shown("c", 2), seq: 4, t: 1 }]);
  expect(texts(waiting.run)).toEqual(["a", "c"]);
  // It takes over the place on the screen, so that nothing flickers.
  expect(waiting.run.outputs[1]?.key).toBe(before);

  const printed = after(
    { type: "cell", index: 1, count: 1, state: "start" },
    shown("a", 1),
    { type: "stream", name: "stdout", text: "old", cell: 1 },
    { type: "clear_output", wait: true, cell: 1 },
    { type: "stream", name: "stdout", text: "new", cell: 1 },
  );
  expect(texts(printed.run)).toEqual([]);
  expect(printed.run.cells.get(1)?.text.map((piece) => piece.text)).toEqual(["new"]);
  expect(printed.notes.text).toBe("oldnew");
});

test("cells have their texts, times and states", () => {
  const { run, notes } = after(
    { type: "cell", index: 1, count: 2, state: "start" },
    { type: "stream", name: "stdout", text: "one\n", cell: 1 },
    { type: "cell", index: 1, count: 2, state: "done" },
    { type: "cell", index: 2, count: 2, state: "start" },
    { type: "error", ename: "KeyError", evalue: "'x'", traceback: ["a", "b"], cell: 2, line: 7 },
    { type: "cell", index: 2, count: 2, state: "error" },
    { type: "stream", name: "stderr", text: "handler" },
  );
  expect(run.cells.get(1)).toMatchObject({ state: "done", started: 100, ended: 102 });
  expect(run.cells.get(2)).toMatchObject({ state: "error", started: 103, ended: 105 });
  expect(run.called.text.map((piece) => piece.text)).toEqual(["handler"]);
  expect(notes.notes).toEqual(["cell: cell 1 of 2", "cell: cell 2 of 2", "traceback: a\nb"]);
  expect(run.error).toMatchObject({ ename: "KeyError", cell: 2, line: 7, logLine: 4 });
});

test("chunks, result, progress, artifacts, what was cut and the end are kept", () => {
  const { run, notes } = after(
    { type: "status", state: "running" },
    { type: "progress", n: 1, total: 4, label: "rows" },
    { type: "chunk", value: { a: 1 } },
    { type: "chunk", ref: "/big", size: 9 },
    { type: "artifact", name: "a.csv", size: 3, content_type: "text/csv", sha256: "x" },
    { type: "truncated", dropped_bytes: 13_000_000, dropped_lines: 81_233, limit: 10 << 20 },
    { type: "log", level: "warning", message: "careful", fields: { rows: 3 } },
    { type: "result", value: [1] },
    { type: "end", state: "succeeded", elapsed: 2, reason: "", abandoned: false },
  );
  expect([run.started, run.state, run.end?.elapsed]).toEqual([100, "succeeded", 2]);
  expect(run.progress).toMatchObject({ n: 1, total: 4 });
  expect(run.chunks).toEqual([{ a: 1 }, { ref: "/big", size: 9 }]);
  expect([run.result?.value, run.artifacts.length]).toEqual([[1], 1]);
  expect(notes.notes).toEqual([
    "warning: 12.4 MiB, 81,233 lines not kept (limit 10.0 MiB)",
    "warning: [warning] careful rows=3",
    "end",
  ]);
});
