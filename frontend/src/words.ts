// How a run and its connection are told in words.

import type { Config } from "./config.ts";
import type { Connection } from "./connection.ts";
import type { State } from "./events.ts";
import { bytes, count, seconds, ticking } from "./format.ts";
import type { Refusal } from "./protocol.ts";
import type { Run } from "./run.ts";

export const stateWord = (state: State): string => state.replace("_", " ");

export function sentence(run: Run, config: Config, now: number): string {
  const { state, end, error } = run;
  const reason = end?.reason ?? config.reason ?? "";
  const took = end?.elapsed ?? config.elapsed;
  switch (state) {
    case "queued":
      return `Queued ${ticking(now - config.created)}${waitsFor(run, config)}`;
    case "starting":
      return "Starting";
    case "running":
      return `Running ${ticking(now - (run.started ?? config.created))}`;
    case "cancelling":
      return "Cancelling…";
    case "succeeded":
      return took === null ? "Succeeded" : `Succeeded, ran ${seconds(took)}`;
    case "failed":
      return `Failed${error || !reason ? "" : `: ${reason}`}${took === null ? "" : ` after ${seconds(took)}`}`;
    case "timed_out":
      return config.timeout === null
        ? "Stopped at its time limit"
        : `Stopped at its limit of ${seconds(config.timeout)}`;
    case "cancelled":
      return (end?.abandoned ?? config.abandoned)
        ? "Cancelled; its thread may still work"
        : "Cancelled";
    case "crashed":
      return reason ? `Its process was killed: ${reason}` : "Its process died";
    case "lost":
      return "Its worker vanished";
    case "denied":
      return reason ? `Refused: ${reason}` : "Refused";
  }
}

const waitsFor = ({ detail }: Run, { queue }: Config): string => {
  if (detail) return `: ${detail}`;
  return queue?.ahead ? `: ${queue.ahead} ahead of you` : "";
};

export function linkWord(link: Connection, now: number): string {
  switch (link.state) {
    case "connecting":
    case "probing":
      return "Connecting…";
    case "live":
      return link.isCatchingUp ? "Catching up…" : "Live";
    case "polling":
      return link.isCatchingUp ? "Catching up…" : "Live, by polling";
    case "waiting": {
      const left = Math.ceil((link.retryAt - now) / 1000);
      return left > 1 ? `Reconnecting in ${left} s` : "Reconnecting…";
    }
    case "offline":
      return "You are offline";
    case "refused":
      return "Disconnected";
    default:
      return "";
  }
}

export function refusalWords({ code, title, detail }: Refusal): string {
  switch (code) {
    case "not_authenticated":
      return "You are signed out. What came so far stays here; sign in to go on.";
    case "forbidden":
    case "not_found":
      return "You may no longer watch this run. What came so far stays here.";
    case "pruned":
      return "The log of this run is past its retention and was removed. What came so far stays here.";
    case "gap":
      return "A part of the log cannot be read as it should. Read the whole log as text.";
    default:
      return [title, detail !== title && detail].filter(Boolean).join(" ") || "The server refused.";
  }
}

// After half a minute of nothing: does it still run, and do we still hear of it?
export function quietWords(run: Run, heard: number, now: number): string {
  const since = now - (run.lastOutput ?? run.started ?? now);
  if (run.state !== "running" || since < 30) return "";
  return `no output for ${ticking(since)}, last heard ${ticking(heard)} ago`;
}

export const truncatedWords = ({ truncated }: Run): string =>
  truncated
    ? `${bytes(truncated.dropped_bytes)}, ${count(truncated.dropped_lines, "line")} not kept (limit ${bytes(truncated.limit)})`
    : "";

export function placeOf(cell: number | null, line: number | null): string {
  return [cell && `cell ${cell}`, line && `line ${line}`].filter(Boolean).join(", ");
}
