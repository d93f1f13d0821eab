// How a reader stays with its run: the state machine of the protocol, over a socket or by polling.

import type { RunEvent } from "./events.ts";
import {
  closeCode,
  FATAL,
  type LinkState,
  type Reader,
  type Refusal,
  STATUS,
  type Target,
  type World,
} from "./protocol.ts";
import type { Frame, Socket } from "./socket.ts";
import { Timers } from "./timers.ts";

const CONNECT = 10_000;
const LONGEST_PAUSE = 15_000;
const SOCKET_AGAIN = 60_000;
const AFTER_END = 2_000;
const AFTER_ERROR = 1_000;

export class Connection {
  state: LinkState = "idle";
  refusal: Refusal | null = null;
  head = 0;
  heard = 0; // when anything last came
  retryAt = 0;
  #socket: Socket | null = null;
  #farewell: Refusal | null = null;
  #failures = 0;
  #refusals = 0;
  #hasCome = false; // events or a head came over this socket
  #gapAt = -1;
  #cancels = 0;
  #lastAttempt = Number.NEGATIVE_INFINITY;
  #timers: Timers;
  #work = new AbortController();

  constructor(
    private target: Target,
    private reader: Reader,
    private world: World,
  ) {
    this.#timers = new Timers(world);
  }

  get isOver(): boolean {
    return this.state === "refused" || this.state === "ended";
  }

  // Seen less than the run is known to have said.
  get isCatchingUp(): boolean {
    return this.reader.last < this.head;
  }

  connect(): void {
    if (this.isOver || this.#socket) return;
    this.#stop();
    const { call, socket } = this.target;
    const path = call ? call.path : socket && `${socket}?after=${this.reader.last}`;
    if (!path) {
      this.#poll();
      return;
    }
    this.#enter("connecting");
    this.#hasCome = false;
    this.#farewell = null;
    this.#lastAttempt = this.world.now();
    this.#timers.after("connect", CONNECT, () => this.#probe());
    try {
      this.#socket = this.world.open(path, {
        frame: (frame) => this.#onFrame(frame),
        closed: (code) => this.#onClosed(code),
      });
    } catch {
      this.#probe();
    }
  }

  retry(): void {
    if (this.state === "waiting" || this.state === "offline") this.connect();
  }

  // The page goes into the browser's cache, or is closed.
  suspend(): void {
    if (this.isOver) return;
    this.#stop();
    this.#enter("idle");
  }

  cancel(force: boolean): boolean {
    if (this.state !== "live" || !this.#socket) return false;
    this.#cancels++;
    this.#socket.send({ type: "cancel", force });
    return true;
  }

  #onFrame(frame: Frame): void {
    this.#listen();
    this.#timers.forget("farewell");
    switch (frame.type) {
      case "hello":
        this.#onHello(frame);
        return;
      case "started":
        this.target = this.reader.onStarted(String(frame.run));
        return;
      case "events":
        this.#onEvents(frame.events as RunEvent[]);
        return;
      case "head":
        this.#came();
        this.head = Math.max(this.head, Number(frame.seq));
        this.reader.onChange();
        return;
      case "next":
        this.#stop();
        if (this.reader.isOver) this.#finish();
        else if (this.#hasCome) this.connect();
        else this.#wait();
        return;
      case "error":
        this.#onError(frame);
        return;
    }
  }

  #onHello(frame: Frame): void {
    this.#timers.forget("connect");
    this.#refusals = 0;
    this.head = Math.max(this.head, Number(frame.head) || 0);
    if (Number(frame.heartbeat) > 0) this.target.heartbeat = Number(frame.heartbeat);
    this.#enter("live");
    this.#listen();
    if (this.target.call) this.#socket?.send(this.target.call.start());
  }

  #onEvents(events: RunEvent[]): void {
    this.#came();
    this.#take(events);
    if (this.reader.isOver && this.state === "live")
      this.#timers.after("end", AFTER_END, () => this.#finish());
  }

  #take(events: RunEvent[]): void {
    const isWhole = this.reader.apply(events);
    this.head = Math.max(this.head, this.reader.last);
    this.reader.onChange();
    if (isWhole) return;
    if (this.#gapAt === this.reader.last) {
      this.#refuse("gap");
      return;
    }
    this.#gapAt = this.reader.last;
    this.#stop();
    this.#wait();
  }

  #onError(frame: Frame): void {
    const refusal = {
      code: String(frame.code),
      title: String(frame.title ?? ""),
      detail: String(frame.detail ?? ""),
      errors: (frame.errors as Refusal["errors"] | undefined) ?? [],
    };
    if (this.#cancels > 0 && ["forbidden", "conflict", "not_found"].includes(refusal.code)) {
      this.#cancels--;
      this.reader.onRefusedCommand(refusal);
      return;
    }
    this.#farewell = refusal;
    // Some servers never deliver the close that follows.
    this.#timers.after("farewell", AFTER_ERROR, () => this.#onClosed(closeCode(refusal.code)));
  }

  #onClosed(code: number): void {
    const wasLive = this.state === "live";
    this.#stop();
    if (this.reader.isOver) {
      this.#finish();
      return;
    }
    const fatal = FATAL[code];
    if (fatal) this.#refuse(fatal, this.#farewell);
    else if (code === 4410) this.#wait(this.world.random() * 2_000);
    else if (code === 4429) this.#wait(30_000 + this.#pause());
    else if (wasLive) this.#wait();
    else this.#probe();
  }

  // A refused handshake says nothing of its reason: ask over HTTP.
  async #probe(): Promise<void> {
    this.#stop();
    this.#enter("probing");
    const { signal } = this.#work;
    const { status, code } = await this.world.probe(this.target.self, signal);
    if (signal.aborted) return;
    const reason = STATUS[status];
    if (reason) {
      this.#refuse(code || reason);
      return;
    }
    if (status === 200 && ++this.#refusals >= 3 && !this.target.call) this.#poll();
    else this.#wait();
  }

  #pause(): number {
    const most = Math.min(LONGEST_PAUSE, 250 * 2 ** this.#failures++);
    return most * (0.5 + this.world.random() / 2);
  }

  #wait(pause?: number): void {
    if (this.isOver) return;
    this.#stop();
    const time = pause ?? this.#pause();
    if (!this.world.isOnline()) {
      this.#enter("offline");
      return;
    }
    this.retryAt = this.world.now() + time;
    this.#timers.after("retry", time, () => this.connect());
    this.#enter("waiting");
  }

  async #poll(): Promise<void> {
    this.#stop();
    this.#enter("polling");
    const { signal } = this.#work;
    const isBlocking = !this.target.socket; // under WSGI a waiting request holds a thread
    while (!signal.aborted) {
      const { world, target, reader } = this;
      const query = { after: reader.last, wait: isBlocking ? 0 : 25, signal };
      const page = await world.page(target.events, query);
      if (signal.aborted) return;
      const reason = STATUS[page.status];
      if (reason) {
        this.#refuse(page.code || reason);
        return;
      }
      if (page.status !== 200) {
        this.#wait();
        return;
      }
      this.heard = world.now();
      this.#failures = 0;
      this.#take(page.events);
      if (signal.aborted) return;
      if (reader.isOver) {
        this.#finish();
        return;
      }
      if (!isBlocking && world.now() - this.#lastAttempt >= SOCKET_AGAIN) {
        this.connect();
        return;
      }
      if (isBlocking && !page.events.length) await this.#sleep(world.isHidden() ? 5_000 : 1_000);
    }
  }

  #sleep(time: number): Promise<void> {
    return new Promise((wake) => this.#timers.after("sleep", time, wake));
  }

  #came(): void {
    this.#hasCome = true;
    this.#failures = 0;
  }

  // Silence: a ping at 1.25 heartbeats, at 2.5 the connection is dead.
  #listen(): void {
    this.heard = this.world.now();
    const beat = this.target.heartbeat * 1000;
    if (this.state === "connecting") return;
    this.#timers.after("ping", 1.25 * beat, () => this.#socket?.send({ type: "ping" }));
    this.#timers.after("watch", 2.5 * beat, () => this.#wait());
  }

  #refuse(code: string, said: Refusal | null = null): void {
    this.#stop();
    this.refusal = said ?? { code, title: "", detail: "", errors: [] };
    this.#enter("refused");
  }

  #finish(): void {
    this.#stop();
    this.#enter("ended");
  }

  #enter(state: LinkState): void {
    this.state = state;
    this.reader.onChange();
  }

  #stop(): void {
    this.#timers.forgetAll();
    this.#socket?.drop();
    this.#socket = null;
    this.#work.abort();
    this.#work = new AbortController();
  }
}
