// Timers by name: setting one again takes the place of the former.

export interface Clock {
  later(work: () => void, pause: number): number;
  never(timer: number): void;
}

export class Timers {
  #running = new Map<string, number>();

  constructor(private clock: Clock) {}

  after(name: string, pause: number, work: () => void): void {
    this.forget(name);
    this.#running.set(name, this.clock.later(work, pause));
  }

  forget(name: string): void {
    const timer = this.#running.get(name);
    if (timer !== undefined) this.clock.never(timer);
    this.#running.delete(name);
  }

  forgetAll(): void {
    for (const name of [...this.#running.keys()]) this.forget(name);
  }
}
