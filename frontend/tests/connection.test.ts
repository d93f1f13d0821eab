import { describe, expect, test } from "vitest";
import { Connection } from "../src/connection.ts";
import type { RunEvent } from "../src/events.ts";
import type { Reader, Refusal, Target } from "../src/protocol.ts";
import { Run } from "../src/run.ts";
import { end, FakeWorld, frameOf, stream } from "./world.ts";

const HELLO = { type: "hello", v: 1, head: 0, heartbeat: 15 };

class FakeReader implements Reader {
  text = "";
  states: string[] = [];
  refused: Refusal[] = [];
  link: Connection | null = null;
  private run = new Run(
    { state: "queued", started: null, head: 0 },
    {
      write: (_stream, text) => {
        this.text += text;
      },
      note: () => {},
      clearMark: () => {},
      end: () => {},
      lines: 0,
    },
  );
  get last() {
    return this.run.last;
  }
  get isOver() {
    return this.run.end !== null;
  }
  apply = (events: readonly RunEvent[]) => this.run.apply(events);
  onStarted = (run: string): Target => target({ socket: `/ws/runs/${run}/` });
  onChange = () => {
    const state = this.link?.state ?? "";
    if (state && this.states.at(-1) !== state) this.states.push(state);
  };
  onRefusedCommand = (refusal: Refusal) => {
    this.refused.push(refusal);
  };
}

const target = (other: Partial<Target> = {}): Target => ({
  socket: "/ws/runs/r/",
  call: null,
  self: "/runs/r/",
  events: "/runs/r/events/",
  heartbeat: 15,
  ...other,
});

function follow(other: Partial<Target> = {}) {
  const world = new FakeWorld();
  const reader = new FakeReader();
  const link = new Connection(target(other), reader, world);
  reader.link = link;
  link.connect();
  return { world, reader, link };
}

function live(other: Partial<Target> = {}) {
  const made = follow(other);
  made.world.socket.say(HELLO);
  return made;
}

test("a run is followed to its end, and the socket is dropped 2 s later", async () => {
  const { world, reader, link } = live();
  expect(world.socket.path).toBe("/ws/runs/r/?after=0");
  world.socket.say(frameOf(stream(1), stream(2)));
  world.socket.say(frameOf(end(3)));
  expect(link.state).toBe("live");
  await world.pass(2_000);
  expect([link.state, world.socket.isDropped, reader.text]).toEqual([
    "ended",
    true,
    "line 1\nline 2\n",
  ]);
  expect(world.sockets.length).toBe(1);
});

test("whatever the place of the cut, the rest comes once and whole", async () => {
  const events = [...Array.from({ length: 9 }, (_, at) => stream(at + 1)), end(10)];
  for (let cut = 0; cut <= 9; cut++) {
    const { world, reader, link } = live();
    if (cut) world.socket.say(frameOf(...events.slice(0, cut)));
    world.socket.close(1006);
    await world.pass(300);
    expect(world.socket.path).toBe(`/ws/runs/r/?after=${cut}`);
    world.socket.say(HELLO);
    // The server may repeat what was seen.
    world.socket.say(frameOf(...events.slice(Math.max(0, cut - 2))));
    world.socket.close(1000);
    expect(reader.text).toBe(
      events
        .slice(0, 9)
        .map((_, at) => `line ${at + 1}\n`)
        .join(""),
    );
    expect(link.state).toBe("ended");
  }
});

test("`next` reconnects at once from our own last seq", async () => {
  const { world } = live();
  world.socket.say(frameOf(stream(1), stream(2)));
  world.socket.say({ type: "next", after: 99 });
  expect(world.sockets.length).toBe(2);
  expect(world.socket.path).toBe("/ws/runs/r/?after=2");
  // Before anything came it counts as a failure.
  world.socket.say(HELLO);
  world.socket.say({ type: "next", after: 2 });
  expect(world.sockets.length).toBe(2);
});

test("silence: a ping after 1.25 heartbeats, the socket is dropped after 2.5", async () => {
  const { world, link } = live();
  await world.pass(18_749);
  expect(world.socket.sent).toEqual([]);
  await world.pass(1);
  expect(world.socket.sent).toEqual([{ type: "ping" }]);
  await world.pass(18_749);
  expect(link.state).toBe("live");
  await world.pass(1);
  expect(link.state).toBe("waiting");
  expect(world.sockets[0]?.isDropped).toBe(true);
});

test("a `head` in time keeps the connection, and tells how much is missing", async () => {
  const { world, link, reader } = live();
  for (let beat = 1; beat <= 10; beat++) {
    await world.pass(15_000);
    world.socket.say({ type: "head", seq: 5 });
  }
  expect([link.state, world.sockets.length, link.isCatchingUp]).toEqual(["live", 1, true]);
  world.socket.say(frameOf(...[1, 2, 3, 4, 5].map((seq) => stream(seq))));
  expect([reader.last, link.isCatchingUp]).toEqual([5, false]);
});

test("a server that accepts and closes is not hammered; events set the pause back", async () => {
  const { world } = follow();
  for (let at = 0; at < 400 && world.time < 30_000; at++) {
    if (!world.socket.isDropped) {
      world.socket.say(HELLO);
      world.socket.close(1000);
    }
    await world.pass(100);
  }
  const attempts = world.sockets.filter((one) => one.at < 30_000).length;
  expect(attempts).toBeGreaterThan(4);
  expect(attempts).toBeLessThanOrEqual(10);
  while (world.socket.isDropped) await world.pass(100);
  world.socket.say(HELLO);
  world.socket.say(frameOf(stream(1)));
  world.socket.close(1006);
  const before = world.sockets.length;
  await world.pass(250);
  expect(world.sockets.length).toBe(before + 1);
});

test("the pause is U(1/2, 1) of min(15 s, 250 ms x 2^n)", async () => {
  for (const [chance, share] of [
    [0, 0.5],
    [1, 1],
  ] as const) {
    const { world, link } = live();
    world.chance = chance;
    for (let n = 0; n < 9; n++) {
      world.socket.close(1006);
      await world.pass(0);
      expect(link.retryAt - world.time).toBe(share * Math.min(15_000, 250 * 2 ** n));
      await world.pass(link.retryAt - world.time);
      world.socket.say(HELLO);
    }
  }
});

describe("closes with a code of ours", () => {
  test.each([
    [4400, "bad_request"],
    [4401, "not_authenticated"],
    [4403, "forbidden"],
    [4404, "not_found"],
    [4413, "too_large"],
  ])("%i refuses: %s", async (code, reason) => {
    const { world, link } = live();
    world.socket.close(code);
    await world.pass(120_000);
    expect([link.state, link.refusal?.code, world.sockets.length]).toEqual(["refused", reason, 1]);
  });

  test("4410 comes back within 2 s, 4429 not before 30 s, 4500 after a pause", async () => {
    const draining = live();
    draining.world.chance = 0.5;
    draining.world.socket.close(4410);
    await draining.world.pass(999);
    expect(draining.world.sockets.length).toBe(1);
    await draining.world.pass(1);
    expect(draining.world.sockets.length).toBe(2);

    const limited = live();
    limited.world.socket.close(4429);
    await limited.world.pass(30_000);
    expect(limited.world.sockets.length).toBe(1);
    await limited.world.pass(1_000);
    expect(limited.world.sockets.length).toBe(2);

    const broken = live();
    broken.world.socket.close(4500);
    expect(broken.link.state).toBe("waiting");
  });

  test("an `error` whose close never comes is acted on after 1 s", async () => {
    const { world, link } = live();
    world.socket.say({ type: "error", code: "pruned", title: "Gone", detail: "It was removed." });
    expect(link.state).toBe("live");
    await world.pass(1_000);
    expect([link.state, link.refusal?.code, link.refusal?.detail]).toEqual([
      "refused",
      "pruned",
      "It was removed.",
    ]);
  });

  test("a refused cancel ends nothing", async () => {
    const { world, link, reader } = live();
    expect(link.cancel(false)).toBe(true);
    expect(world.socket.sent).toEqual([{ type: "cancel", force: false }]);
    world.socket.say({ type: "error", code: "forbidden", title: "No", detail: "Not yours." });
    await world.pass(5_000);
    expect([link.state, reader.refused.length]).toEqual(["live", 1]);
  });
});

describe("a handshake that fails", () => {
  test.each([
    [401, "not_authenticated"],
    [403, "forbidden"],
    [404, "not_found"],
    [410, "pruned"],
  ])("is probed over HTTP: %i refuses", async (status, code) => {
    const { world, link } = follow();
    world.self = { status, code: "", events: [] };
    world.socket.close(1006);
    expect(link.state).toBe("probing");
    await world.pass(0);
    expect([link.state, link.refusal?.code, world.probes]).toEqual(["refused", code, ["/runs/r/"]]);
  });

  test("nothing for 10 s is a failure too", async () => {
    const { world, link } = follow();
    await world.pass(9_999);
    expect(link.state).toBe("connecting");
    await world.pass(1);
    expect(world.probes.length).toBe(1);
    expect(link.state).toBe("waiting");
  });

  test("three times and the run is polled, with one socket attempt each 60 s", async () => {
    const { world, link, reader } = follow();
    const events = [stream(1), stream(2)];
    world.answer = (after) => {
      world.time += 20_000; // it waited for news
      return { status: 200, code: "", events: events.slice(after, after + 1) };
    };
    for (let attempt = 0; attempt < 3; attempt++) {
      world.socket.close(1006);
      await world.pass(2_000);
    }
    expect(world.pages[0]).toMatchObject({ address: "/runs/r/events/", after: 0, wait: 25 });
    expect(reader.text).toBe("line 1\nline 2\n");
    expect(world.sockets.length).toBe(4);
    expect(world.socket.at - (world.sockets[2]?.at ?? 0)).toBeGreaterThanOrEqual(60_000);
    world.socket.close(1006);
    await world.pass(0);
    expect(link.state).not.toBe("refused");
    expect(world.pages.length).toBeGreaterThan(3);
  });
});

test("under WSGI it is polled each second, each 5 s in the background, to the end", async () => {
  const { world, link } = follow({ socket: null });
  await world.pass(3_000);
  expect(world.pages.map(({ at, wait }) => [at, wait])).toEqual([
    [0, 0],
    [1_000, 0],
    [2_000, 0],
    [3_000, 0],
  ]);
  world.isInBackground = true;
  await world.pass(11_000);
  expect(world.pages.length).toBe(7);
  world.answer = (after) => ({ status: 200, code: "", events: after ? [] : [stream(1), end(2)] });
  await world.pass(5_000);
  expect([link.state, world.sockets.length]).toEqual(["ended", 0]);
});

test("a server that is away while polling is asked again, and less and less", async () => {
  const { world, link } = follow({ socket: null });
  world.answer = () => ({ status: 0, code: "", events: [] });
  await world.pass(60_000);
  expect(link.state).toBe("waiting");
  expect(world.pages.length).toBeLessThan(12);
  world.answer = () => ({ status: 410, code: "pruned", events: [] });
  await world.pass(15_000);
  expect([link.state, link.refusal?.code]).toEqual(["refused", "pruned"]);
});

test("missing events are read again; twice at one place it says so", async () => {
  const { world, reader, link } = live();
  world.socket.say(frameOf(stream(1), stream(2)));
  world.socket.say(frameOf(stream(4)));
  expect(reader.text).toBe("line 1\nline 2\n");
  await world.pass(300);
  expect(world.socket.path).toBe("/ws/runs/r/?after=2");
  world.socket.say(HELLO);
  world.socket.say(frameOf(stream(4)));
  expect([link.state, link.refusal?.code]).toEqual(["refused", "gap"]);
});

test("offline it waits for the browser, then comes back at once", async () => {
  const { world, link } = live();
  world.isAway = true;
  world.socket.close(1006);
  expect(link.state).toBe("offline");
  await world.pass(100_000);
  expect(world.sockets.length).toBe(1);
  world.isAway = false;
  link.retry();
  expect([link.state, world.sockets.length]).toEqual(["connecting", 2]);
});

test("a call starts its run, and comes back to it as a run", async () => {
  const start = () => '{"type":"start","parameters":{"n":1},"key":"k"}';
  const { world, reader } = follow({ call: { path: "/ws/call/f/", start }, self: "/files/f/" });
  expect(world.socket.path).toBe("/ws/call/f/");
  world.socket.close(1006);
  await world.pass(300);
  expect(world.probes).toEqual(["/files/f/"]);
  world.socket.say(HELLO);
  expect(world.socket.sent).toEqual([{ type: "start", parameters: { n: 1 }, key: "k" }]);
  world.socket.say({ type: "started", run: "new" });
  world.socket.say(frameOf(stream(1)));
  world.socket.close(1006);
  await world.pass(300);
  expect(world.socket.path).toBe("/ws/runs/new/?after=1");
  expect(reader.text).toBe("line 1\n");
});

test("a page that leaves says nothing more, and resumes where it was", async () => {
  const { world, link } = live();
  world.socket.say(frameOf(stream(1)));
  link.suspend();
  await world.pass(100_000);
  expect([link.state, world.sockets.length]).toEqual(["idle", 1]);
  link.connect();
  expect(world.socket.path).toBe("/ws/runs/r/?after=1");
});
