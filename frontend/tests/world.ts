// A world of a test's own: its clock, its sockets, its server, and no chance.

import type { RunEvent } from "../src/events.ts";
import type { Page } from "../src/poll.ts";
import type { World } from "../src/protocol.ts";
import type { Frame, Listener } from "../src/socket.ts";

export class FakeSocket {
  sent: Frame[] = [];
  isDropped = false;
  constructor(
    readonly path: string,
    readonly at: number,
    private listener: Listener,
  ) {}
  say(frame: Frame): void {
    if (!this.isDropped) this.listener.frame(frame);
  }
  close(code: number): void {
    if (!this.isDropped) this.listener.closed(code);
  }
}

export class FakeWorld implements World {
  time = 0;
  sockets: FakeSocket[] = [];
  pages: { address: string; after: number; wait: number; at: number }[] = [];
  probes: string[] = [];
  isAway = false;
  isInBackground = false;
  chance = 1;
  answer: (after: number) => Page = () => ({ status: 200, code: "", events: [] });
  self: Page = { status: 200, code: "", events: [] };
  private timers = new Map<number, { at: number; work: () => void }>();
  private nextTimer = 1;

  now = () => this.time;
  random = () => this.chance;
  isOnline = () => !this.isAway;
  isHidden = () => this.isInBackground;
  later = (work: () => void, pause: number) => {
    this.timers.set(this.nextTimer, { at: this.time + pause, work });
    return this.nextTimer++;
  };
  never = (timer: number) => {
    this.timers.delete(timer);
  };
  open = (path: string, listener: Listener) => {
    const socket = new FakeSocket(path, this.time, listener);
    this.sockets.push(socket);
    return {
      send: (frame: object | string) => {
        socket.sent.push(typeof frame === "string" ? JSON.parse(frame) : (frame as Frame));
      },
      drop: () => {
        socket.isDropped = true;
      },
    };
  };
  page = async (address: string, { after, wait }: { after: number; wait: number }) => {
    this.pages.push({ address, after, wait, at: this.time });
    return this.answer(after);
  };
  probe = async (address: string) => {
    this.probes.push(address);
    return this.self;
  };

  get socket(): FakeSocket {
    const last = this.sockets.at(-1);
    if (!last) throw new Error("no socket was opened");
    return last;
  }

  // Time goes on; whatever is due happens at its own moment.
  async pass(milliseconds: number): Promise<void> {
    const end = this.time + milliseconds;
    await settle();
    for (;;) {
      const due = [...this.timers].filter(([, one]) => one.at <= end);
      const [first] = due.sort(([, a], [, b]) => a.at - b.at);
      if (!first) break;
      this.timers.delete(first[0]);
      this.time = Math.max(this.time, first[1].at);
      first[1].work();
      await settle();
    }
    this.time = end;
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

export const stream = (seq: number, text = `line ${seq}\n`): RunEvent => ({
  seq,
  t: seq,
  type: "stream",
  name: "stdout",
  text,
});
export const end = (seq: number): RunEvent => ({
  seq,
  t: seq,
  type: "end",
  state: "succeeded",
  elapsed: 1,
  reason: "",
  abandoned: false,
});
export const frameOf = (...events: RunEvent[]): Frame => ({
  type: "events",
  first: events[0]?.seq,
  last: events.at(-1)?.seq,
  events,
});
