// What those hear who listen, and what the page's tab says.

import { isFinal } from "./events.ts";
import { shareOf } from "./header.ts";
import type { Run } from "./run.ts";
import { stateWord } from "./words.ts";

const PAUSE = 10_000; // milliseconds between two announcements of progress

export class Voice {
  #said = "";
  #at = Number.NEGATIVE_INFINITY;

  // Each state, and progress every ten seconds.
  announce(run: Run, clock: number): string {
    const word = run.error ? stateWord(run.state) : `Run ${stateWord(run.state)}`;
    if (!this.#said.startsWith(word) || clock - this.#at >= PAUSE) {
      const share = percent(run);
      this.#said = share ? `${word}, ${share}` : word;
      this.#at = clock;
    }
    return this.#said;
  }
}

function percent({ state, progress }: Run): string {
  const share = isFinal(state) ? null : shareOf(progress);
  return share === null ? "" : `${Math.round(share * 100)} %`;
}

export function drawTitle(run: Run, name: string): void {
  const title = `${percent(run) || stateWord(run.state)} · ${name} · djsci`;
  if (document.title !== title) document.title = title;
}
