// What a connection and its surroundings say to each other; what close codes and statuses mean.

import type { RunEvent } from "./events.ts";
import type { Page } from "./poll.ts";
import type { Listener, Socket } from "./socket.ts";

export type LinkState =
  | "idle"
  | "connecting"
  | "live"
  | "probing"
  | "waiting"
  | "offline"
  | "polling"
  | "refused"
  | "ended";

export interface Refusal {
  code: string;
  title: string;
  detail: string;
  errors: { field?: string; message: string }[];
}

// What it reads: a run there is, or one that its first frame starts.
export interface Target {
  socket: string | null;
  call: { path: string; start(): string } | null;
  self: string;
  events: string;
  heartbeat: number; // seconds
}

export interface Reader {
  readonly last: number;
  readonly isOver: boolean;
  apply(events: readonly RunEvent[]): boolean;
  onStarted(run: string): Target;
  onChange(): void;
  onRefusedCommand(refusal: Refusal): void;
}

// Everything of the world, so that tests have another one. Times are milliseconds.
export interface World {
  now(): number;
  random(): number;
  later(work: () => void, pause: number): number;
  never(timer: number): void;
  isOnline(): boolean;
  isHidden(): boolean;
  open(path: string, listener: Listener): Socket;
  page(address: string, query: { after: number; wait: number; signal: AbortSignal }): Promise<Page>;
  probe(address: string, signal: AbortSignal): Promise<Page>;
}

// Closes that no reconnecting heals.
export const FATAL: Record<number, string> = {
  4400: "bad_request",
  4401: "not_authenticated",
  4403: "forbidden",
  4404: "not_found",
  4413: "too_large",
};
export const STATUS: Record<number, string> = {
  401: "not_authenticated",
  403: "forbidden",
  404: "not_found",
  410: "pruned",
};
// What a server that never delivered its close would have closed with.
export const closeCode = (code: string): number => {
  const fatal = Object.entries(FATAL).find(([, name]) => name === code);
  if (fatal) return Number(fatal[0]);
  if (code === "draining") return 4410;
  if (code === "limit") return 4429;
  if (code === "pruned") return 4404;
  const isRefusedStart = ["conflict", "changed", "wrong_kind", "bad_method"].includes(code);
  return isRefusedStart || code.startsWith("bad_") || code.startsWith("no_handler") ? 4400 : 4500;
};
