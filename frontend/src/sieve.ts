// The filter: the numbers of the lines that match, found a few milliseconds at a time.

import type { Rows } from "./blocks";
import type { Line, Stream } from "./lines";
import type { Terminal } from "./terminal";

export const MOST_HITS = 10_000;
export interface Filter {
  text: string;
  stream: "all" | Stream;
}

export class Sieve implements Rows {
  readonly #hits: number[] = [];
  readonly #needle: string;
  #seen: number;

  constructor(
    readonly terminal: Terminal,
    readonly filter: Filter,
  ) {
    this.#needle = filter.text.toLowerCase();
    this.#seen = terminal.first;
  }

  get first(): number {
    return this.row(this.terminal.first);
  }

  get end(): number {
    return this.#hits.length;
  }

  get isFull(): boolean {
    return this.end >= MOST_HITS;
  }

  at(i: number): Line | undefined {
    return this.terminal.line(this.#hits[i] ?? -1);
  }

  /** The row of a line, or of the first hit after it. */
  row(number: number): number {
    let [low, high] = [0, this.end];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#hits[middle] ?? 0) < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Look on until `deadline`; whether there is more to look at. */
  look(deadline: number): boolean {
    this.#seen = Math.max(this.#seen, this.terminal.first);
    while (this.#seen < this.terminal.end && !this.isFull) {
      if (this.#matches(this.#seen)) this.#hits.push(this.#seen);
      this.#seen++;
      if (this.#seen % 64 === 0 && performance.now() > deadline) return true;
    }
    return false;
  }

  /** A line has changed: which row, if any, and whether the rows after it have moved. */
  again(number: number): [row: number, isMoved: boolean] | undefined {
    if (number >= this.#seen) return undefined;
    const row = this.row(number);
    const isHit = this.#hits[row] === number;
    const shall = this.#matches(number);
    if (shall && !isHit && !this.isFull) this.#hits.splice(row, 0, number);
    else if (!shall && isHit) this.#hits.splice(row, 1);
    else return isHit ? [row, false] : undefined;
    return [row, true];
  }

  #matches(number: number): boolean {
    const line = this.terminal.line(number);
    if (!line || (this.filter.stream !== "all" && line.kind !== this.filter.stream)) return false;
    return !this.#needle || line.text.toLowerCase().includes(this.#needle);
  }
}
