// What Django's page tells the console of its run.

import type { State } from "./events.ts";

export interface CellInfo {
  index: number; // code counts from 1; prose has negative numbers
  kind: "code" | "markdown";
  name: string;
}

export interface Config {
  run: string | null;
  file: { id: string; name: string; url: string | null };
  ref: string;
  state: State;
  reason?: string;
  abandoned?: boolean;
  head: number;
  pruned: boolean;
  version: string;
  entry: string;
  kind: "py" | "ipynb";
  trigger: string;
  user: string | null;
  engine: string;
  isolation: string;
  parameters: unknown;
  socket: string | null;
  call: string | null;
  self: string;
  events: string;
  outputs: string;
  notebook: string | null;
  artifacts: string | null;
  log: string;
  compare: string;
  cancel: string;
  page: string;
  edit: string | null;
  again: string | null;
  login: string;
  catalogue: string;
  csrf: string;
  now: number;
  created: number;
  started: number | null;
  ended: number | null;
  elapsed: number | null;
  grace: number;
  heartbeat: number;
  timeout: number | null;
  queue: { ahead: number } | null;
  may: { cancel: boolean; run: boolean; read: boolean };
  interactive: boolean;
  error: {
    ename: string;
    evalue: string;
    cell: number | null;
    line: number | null;
    traceback?: string[];
  } | null;
  result: string | null;
  cells: CellInfo[] | null;
}

export function readConfig<Kind = Config>(id: string | null): Kind | null {
  const text = id && document.getElementById(id)?.textContent;
  return text ? (JSON.parse(text) as Kind) : null;
}
