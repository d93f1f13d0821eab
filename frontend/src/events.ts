// What a run can say: the contract's event types. Equal to djsci/core/events.py; a test compares.

export type FinalState =
  | "succeeded"
  | "failed"
  | "timed_out"
  | "cancelled"
  | "crashed"
  | "lost"
  | "denied";
export type State = "queued" | "starting" | "running" | "cancelling" | FinalState;

// A part of a bundle that is too large for the log lies elsewhere.
export interface Reference {
  ref: string;
  size: number;
}
export type Bundle = Record<string, unknown>;

export interface Status {
  type: "status";
  state: State;
  detail?: string;
}

export interface Cell {
  type: "cell";
  index: number;
  count: number;
  state: "start" | "done" | "error";
}

export interface Stream {
  type: "stream";
  name: "stdout" | "stderr";
  text: string;
  cell?: number;
}

export interface Display {
  data: Bundle;
  metadata: Bundle;
  display_id: string | null;
  cell?: number;
}

export interface DisplayData extends Display {
  type: "display_data";
}

export interface ExecuteResult extends Display {
  type: "execute_result";
}

export interface UpdateDisplayData extends Display {
  type: "update_display_data";
}

export interface ClearOutput {
  type: "clear_output";
  wait: boolean;
  cell?: number;
}

export interface Progress {
  type: "progress";
  value?: number;
  n?: number;
  total?: number;
  label?: string;
}

export interface Log {
  type: "log";
  level: "debug" | "info" | "warning" | "error";
  message: string;
  fields: Bundle;
}

// The name would hide JavaScript's own Error.
export interface ErrorEvent {
  type: "error";
  ename: string;
  evalue: string;
  traceback: string[];
  cell: number | null;
  line: number | null;
}

export interface Chunk {
  type: "chunk";
  value?: unknown;
  ref?: string;
  size?: number;
}

export interface Artifact {
  type: "artifact";
  name: string;
  size: number;
  content_type: string;
  sha256: string;
}

export interface Truncated {
  type: "truncated";
  dropped_bytes: number;
  dropped_lines: number;
  limit: number;
}

export interface Result {
  type: "result";
  value?: unknown;
  ref?: string;
  size?: number;
  http?: Bundle;
}

export interface End {
  type: "end";
  state: FinalState;
  elapsed: number | null;
  reason: string;
  abandoned: boolean;
}

export type Said =
  | Status
  | Cell
  | Stream
  | DisplayData
  | ExecuteResult
  | UpdateDisplayData
  | ClearOutput
  | Progress
  | Log
  | ErrorEvent
  | Chunk
  | Artifact
  | Truncated
  | Result
  | End;

// As it comes: numbered from 1 without gaps, at Unix seconds of the server.
export type RunEvent = Said & { seq: number; t: number };

const FINAL: readonly string[] = [
  "succeeded",
  "failed",
  "timed_out",
  "cancelled",
  "crashed",
  "lost",
  "denied",
] satisfies FinalState[];

export const isFinal = (state: State): state is FinalState => FINAL.includes(state);
