// A run's log folded into what there is to see: pure, it knows no page and no socket.

import type * as wire from "./events.ts";
import { bytes, count } from "./format.ts";

// Where text goes that is too much to keep here: the log.
export interface TextSink {
  write(stream: "stdout" | "stderr", text: string, t: number): void;
  note(kind: NoteKind, text: string, t: number): void;
  clearMark(): void;
  end(): void;
  readonly lines: number;
}
export type NoteKind = "note" | "warning" | "error" | "debug" | "cell" | "traceback";

export interface Output {
  key: number; // stays while the output is replaced
  seq: number; // of the event that it shows
  cell: number | null;
  displayId: string | null;
  data: wire.Bundle;
  metadata: wire.Bundle;
}

export interface CellState {
  state: "start" | "done" | "error";
  started: number;
  ended: number | null;
  text: { stream: "stdout" | "stderr"; text: string; t: number }[];
  size: number;
  dropped: boolean;
}

export interface Failure extends wire.ErrorEvent {
  logLine: number; // the first line of the log that tells of it
}

const CELL_TEXT = 200_000; // characters that the notebook view keeps of a cell

export class Run {
  last = 0;
  state: wire.State;
  detail = "";
  started: number | null;
  lastOutput: number | null = null;
  outputs: Output[] = [];
  cells = new Map<number, CellState>();
  cell: { index: number; count: number } | null = null;
  called = newCell(0); // what the handler printed, after all cells
  progress: (wire.Progress & { t: number }) | null = null;
  chunks: unknown[] | null = null;
  result: wire.Result | null = null;
  error: Failure | null = null;
  artifacts: wire.Artifact[] = [];
  truncated: wire.Truncated | null = null;
  end: wire.End | null = null;
  #known: number; // the seq up to which the page knew the state
  #nextKey = 1;
  #waiting = new Set<number | null>(); // cells to be cleared at their next output
  #freed = new Map<number | null, number[]>(); // by cell: keys that new outputs take over

  constructor(
    start: { state: wire.State; started: number | null; head: number },
    private sink: TextSink,
  ) {
    this.#known = start.head;
    this.state = start.state;
    this.started = start.started;
  }

  // False when events are missing: they are to be read again from `last`.
  apply(events: readonly wire.RunEvent[]): boolean {
    for (const event of events) {
      if (!(event.seq > this.last)) continue;
      if (event.seq > this.last + 1) return false;
      this.last = event.seq;
      this.#one(event);
    }
    return true;
  }

  #one(event: wire.RunEvent): void {
    switch (event.type) {
      case "status":
        // What the page knows already is not told once more from its beginning.
        if (event.seq > this.#known) this.state = event.state;
        this.detail = event.detail ?? "";
        if (event.state === "running") this.started ??= event.t;
        return;
      case "cell":
        this.#onCell(event);
        return;
      case "stream":
        this.lastOutput = event.t;
        this.sink.write(event.name, event.text, event.t);
        this.#keepText(event);
        return;
      case "log":
        this.lastOutput = event.t;
        this.#onLog(event);
        return;
      case "display_data":
      case "execute_result":
        this.lastOutput = event.t;
        this.#show(event);
        return;
      case "update_display_data":
        this.lastOutput = event.t;
        this.#replace(event);
        return;
      case "clear_output":
        this.#clear(event);
        return;
      case "progress":
        this.lastOutput = event.t;
        this.progress = event;
        return;
      case "error":
        this.#fail(event);
        return;
      case "chunk":
        this.lastOutput = event.t;
        this.chunks ??= [];
        this.chunks.push("value" in event ? event.value : refOf(event));
        return;
      case "result":
        this.result = event;
        return;
      case "artifact":
        this.artifacts.push(event);
        return;
      case "truncated":
        this.truncated = event;
        this.sink.note("warning", truncatedText(event), event.t);
        return;
      case "end":
        this.state = event.state;
        this.end = event;
        this.sink.end();
    }
  }

  #onCell(event: wire.Cell & { t: number }): void {
    const { index, count, state, t } = event;
    if (state === "start") {
      this.cell = { index, count };
      this.cells.set(index, newCell(t));
      if (count > 1) this.sink.note("cell", `cell ${index} of ${count}`, t);
      return;
    }
    const cell = this.cells.get(index);
    if (cell) this.cells.set(index, { ...cell, state, ended: t });
    this.cell = null;
  }

  #keepText({ cell, name, text, t }: wire.Stream & { t: number }): void {
    this.#clearWaiting(cell ?? null);
    const kept = cell === undefined ? this.called : this.cells.get(cell);
    if (!kept) return;
    if (kept.size + text.length > CELL_TEXT) kept.dropped = true;
    if (kept.dropped) return;
    kept.text.push({ stream: name, text, t });
    kept.size += text.length;
  }

  #onLog({ level, message, fields, t }: wire.Log & { t: number }): void {
    const extra = Object.entries(fields ?? {})
      .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
      .join(" ");
    const kind = level === "info" ? "note" : level;
    this.sink.note(kind, `[${level}] ${message}${extra && ` ${extra}`}`, t);
  }

  #show(event: (wire.DisplayData | wire.ExecuteResult) & { seq: number }): void {
    const cell = event.cell ?? null;
    this.#clearWaiting(cell);
    const id = event.display_id;
    if (id && this.outputs.some((one) => one.displayId === id)) {
      this.#replace(event);
      return;
    }
    const key = this.#freed.get(cell)?.shift() ?? this.#freed.get(null)?.shift() ?? this.#nextKey++;
    this.outputs.push({ ...bundle(event), key, cell, displayId: id });
  }

  #replace(event: wire.Display & { seq: number }): void {
    if (!event.display_id) return;
    for (const one of this.outputs)
      if (one.displayId === event.display_id) Object.assign(one, bundle(event));
  }

  #clear({ cell, wait }: wire.ClearOutput): void {
    const place = cell ?? null;
    this.#freed.delete(place);
    if (wait) this.#waiting.add(place);
    else this.#clearNow(place);
  }

  // What was to go at the next output goes now; that output takes over its place on the screen.
  #clearWaiting(cell: number | null): void {
    for (const place of new Set([cell, null]))
      if (this.#waiting.delete(place)) this.#freed.set(place, this.#clearNow(place));
  }

  #clearNow(place: number | null): number[] {
    const isIts = (one: Output) => place === null || one.cell === place;
    const keys = this.outputs.filter(isIts).map((one) => one.key);
    this.outputs = this.outputs.filter((one) => !isIts(one));
    const kept = place === null ? undefined : this.cells.get(place);
    if (kept) this.cells.set(place as number, { ...kept, text: [], size: 0, dropped: false });
    this.sink.clearMark();
    return keys;
  }

  #fail(event: wire.ErrorEvent & { t: number }): void {
    this.error = { ...event, logLine: this.sink.lines + 1 };
    const traceback = event.traceback ?? [];
    if (traceback.length) this.sink.note("traceback", traceback.join("\n"), event.t);
    else this.sink.note("error", `${event.ename}: ${event.evalue}`, event.t);
  }
}

const newCell = (started: number): CellState => ({
  state: "start",
  started,
  ended: null,
  text: [],
  size: 0,
  dropped: false,
});
const bundle = ({ seq, data, metadata }: wire.Display & { seq: number }) => ({
  seq,
  data,
  metadata: metadata ?? {},
});
const refOf = ({ ref, size }: wire.Chunk): wire.Reference => ({ ref: ref ?? "", size: size ?? 0 });

const truncatedText = ({ dropped_bytes, dropped_lines, limit }: wire.Truncated) =>
  `${bytes(dropped_bytes)}, ${count(dropped_lines, "line")} not kept (limit ${bytes(limit)})`;
