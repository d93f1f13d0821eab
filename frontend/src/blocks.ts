// Lines as the page's own text: blocks of 250, redrawn in place, never an element per line.

import { hex, RGB } from "./ansi";
import type { Line } from "./lines";
import { type Kid, numbers, type Part, parts } from "./parts";

export const BLOCK = 250;

/** The lines of one view in their order: `at(i)` for `first <= i < end`. */
export interface Rows {
  readonly first: number;
  readonly end: number;
  at(i: number): Line | undefined;
}

export class Blocks {
  readonly root = document.createElement("div");
  /** Whole lines, however long, by their numbers. */
  readonly whole = new Set<number>();
  /** Whether the time of each line stands beside its number. */
  isTimed = false;
  readonly #dirty = new Set<number>();
  readonly #blocks = new Map<number, HTMLElement>();
  #oldest = 0;
  #drawn = 0;

  constructor(readonly rows: Rows) {
    this.root.className = "dj-lines";
  }

  /** A row has to be drawn afresh, or all from it on. */
  touch(i: number, isMoved = false): void {
    const from = Math.floor(i / BLOCK);
    for (const k of isMoved ? this.#blocks.keys() : [from]) if (k >= from) this.#dirty.add(k);
  }

  /** Draw what is new or dirty until `deadline`; whether more is left to do. */
  draw(deadline: number): boolean {
    this.#forget();
    const tail = this.#drawn < this.rows.end ? Math.floor(this.#drawn / BLOCK) : -1;
    for (const k of this.#dirty) {
      if (k === tail) continue;
      if (performance.now() > deadline) return true;
      this.#dirty.delete(k);
      if (this.#blocks.has(k)) this.#drawBlock(k);
    }
    while (this.#drawn < this.rows.end) {
      if (performance.now() > deadline) return true;
      const k = Math.floor(Math.max(this.#drawn, this.rows.first) / BLOCK);
      this.#dirty.delete(k);
      this.#drawBlock(k);
      this.#drawn = Math.min(this.rows.end, (k + 1) * BLOCK);
    }
    return false;
  }

  /** The block that holds a row, and the row's place in it. */
  find(i: number): [HTMLElement, number] | undefined {
    const k = Math.floor(i / BLOCK);
    const block = this.#blocks.get(k);
    return block && [block, i - Math.max(k * BLOCK, this.rows.first)];
  }

  /** The row of a block's first line. */
  start(block: HTMLElement): number {
    return Math.max(Number(block.dataset.k) * BLOCK, this.rows.first);
  }

  /** Up to which row the page is drawn. */
  get drawn(): number {
    return this.#drawn;
  }

  /** Whether a row is on the page. */
  has(i: number): boolean {
    return i >= this.rows.first && i < this.#drawn;
  }

  #forget(): void {
    if (this.#drawn > this.rows.end) {
      this.#drawn = this.rows.end;
      for (const [at, block] of this.#blocks) {
        if (at * BLOCK >= this.#drawn) {
          block.remove();
          this.#blocks.delete(at);
        }
      }
    }
    const k = Math.floor(this.rows.first / BLOCK);
    for (; this.#oldest < k; this.#oldest++) {
      this.#blocks.get(this.#oldest)?.remove();
      this.#blocks.delete(this.#oldest);
    }
    const block = this.#blocks.get(k);
    if (block && block.dataset.first !== String(this.rows.first)) this.#dirty.add(k);
  }

  #drawBlock(k: number): void {
    const from = Math.max(k * BLOCK, this.rows.first);
    const to = Math.min((k + 1) * BLOCK, this.rows.end);
    let block = this.#blocks.get(k);
    if (!block) {
      block = document.createElement("pre");
      block.dataset.k = String(k);
      this.#blocks.set(k, block);
      this.root.append(block);
    }
    const lines: Line[] = [];
    for (let i = from; i < to; i++) {
      const line = this.rows.at(i);
      if (line) lines.push(line);
    }
    const beside = numbers(lines, this.isTimed);
    patch(block, parts(lines, this.whole));
    block.dataset.first = String(from);
    block.dataset.head = beside[0] ?? "";
    block.dataset.n = beside.join("\n");
    block.style.setProperty("--n", String(lines.length));
  }
}

/**
 * Make an element's children what they shall be, touching only what differs: what a reader has
 * selected above a running bar stays selected.
 */
function patch(parent: Element, kids: Kid[]): void {
  let node = parent.firstChild;
  for (const kid of kids) {
    if (typeof kid === "string") {
      if (node instanceof Text) replace(node, kid);
      else node = place(parent, node, document.createTextNode(kid));
    } else {
      if (!(node instanceof HTMLElement && node.className === kid.name)) {
        const made = document.createElement(kid.more ? "button" : "span");
        made.className = kid.name;
        node = place(parent, node, made);
      }
      dress(node as HTMLElement, kid);
      patch(node as HTMLElement, kid.kids);
    }
    node = node.nextSibling;
  }
  while (node) {
    const next: ChildNode | null = node.nextSibling;
    node.remove();
    node = next;
  }
}

function place<T extends ChildNode>(parent: Element, old: ChildNode | null, made: T): T {
  if (old) old.replaceWith(made);
  else parent.append(made);
  return made;
}

function replace(node: Text, text: string): void {
  const old = node.data;
  if (old === text) return;
  let from = 0;
  if (text.startsWith(old)) from = old.length;
  else while (old[from] === text[from]) from++;
  let last = 0;
  const most = Math.min(old.length, text.length) - from;
  while (last < most && old[old.length - 1 - last] === text[text.length - 1 - last]) last++;
  node.replaceData(from, old.length - from - last, text.slice(from, text.length - last));
}

/** True colours go to the sheet as they are; it makes them readable on either ground. */
function dress(node: HTMLElement, { style, more, line }: Part): void {
  if (style && style.fg >= RGB) node.style.setProperty("--fx", hex(style.fg));
  if (style && style.bg >= RGB) node.style.setProperty("--bx", hex(style.bg));
  if (!more) return;
  const label = `expand ${more.toLocaleString("en")} more characters`;
  node.dataset.line = String(line);
  node.dataset.label = label;
  node.setAttribute("aria-label", label);
}
