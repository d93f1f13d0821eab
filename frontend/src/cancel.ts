// Cancelling takes two steps: asking, and force when the time of grace is over.

import type { Config } from "./config.ts";
import type { Connection } from "./connection.ts";
import { isFinal } from "./events.ts";
import type { Run } from "./run.ts";

export type CancelStep = "no" | "ask" | "asked" | "force";

export class Cancel {
  #asked: number | null = null;

  constructor(
    private config: Config,
    private now: () => number,
  ) {}

  step(run: Run, link: Connection): CancelStep {
    if (!this.config.may.cancel || link.state === "refused") return "no";
    if (run.state !== "cancelling") return "ask";
    this.#asked ??= this.now();
    return this.now() - this.#asked >= (this.config.grace + 1) * 1000 ? "force" : "asked";
  }

  // False where the server was not reached.
  async ask(run: Run, link: Connection): Promise<boolean> {
    const isForced = this.step(run, link) === "force";
    this.#asked = this.now();
    this.keep(run);
    if (link.cancel(isForced)) return true;
    const body = new URLSearchParams({ csrfmiddlewaretoken: this.config.csrf });
    const answer = await fetch(this.config.cancel, { method: "POST", body }).catch(() => null);
    return answer?.ok ?? false;
  }

  // What was asked here is shown at once, whatever still comes of the time before.
  keep(run: Run): void {
    if (this.#asked !== null && !isFinal(run.state)) run.state = "cancelling";
  }

  wasRefused(run: Run): void {
    this.#asked = null;
    if (run.state === "cancelling") run.state = "running";
  }
}
