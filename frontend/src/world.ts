// The browser as a connection sees it.

import { probe, readPage } from "./poll.ts";
import type { World } from "./protocol.ts";
import { openSocket } from "./socket.ts";

export const browser: World = {
  now: () => performance.now(),
  random: Math.random,
  later: (work, pause) => window.setTimeout(work, pause),
  never: (timer) => clearTimeout(timer),
  isOnline: () => navigator.onLine,
  isHidden: () => document.hidden,
  open: openSocket,
  page: readPage,
  probe,
};

// The server's clock, in Unix seconds: this machine's own may be wrong by years.
export function serverClock(nowThere: number): { now(): number; heard(t: number): void } {
  let ahead = nowThere - performance.now() / 1000;
  const now = () => performance.now() / 1000 + ahead;
  return {
    now,
    // A machine that slept counted too little.
    heard: (t) => {
      if (t > now() && t - now() < 7 * 86_400) ahead += t - now();
    },
  };
}
