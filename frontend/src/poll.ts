// The same over HTTP: one page of events at a time, and what the server says of a run at all.

import type { RunEvent } from "./events.ts";
import { parseFrame } from "./exact.ts";

export interface Page {
  status: number; // 0: the server was not reached
  code: string; // of its problem document
  events: RunEvent[];
}

export async function readPage(
  address: string,
  { after, wait, signal }: { after: number; wait: number; signal: AbortSignal },
): Promise<Page> {
  return read(`${address}?after=${after}&wait=${wait}`, signal, 40_000);
}

export const probe = (address: string, signal: AbortSignal): Promise<Page> =>
  read(address, signal, 10_000);

async function read(address: string, signal: AbortSignal, patience: number): Promise<Page> {
  try {
    const limit = AbortSignal.timeout(patience);
    const answer = await fetch(address, {
      headers: { Accept: "application/json" },
      signal: AbortSignal.any ? AbortSignal.any([signal, limit]) : signal,
    });
    const body = parseFrame(await answer.text());
    return {
      status: answer.status,
      code: answer.ok ? "" : String(body.type ?? ""),
      events: (body.events as RunEvent[] | undefined) ?? [],
    };
  } catch {
    return { status: 0, code: "", events: [] };
  }
}
