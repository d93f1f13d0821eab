// The log as a reader sees it: what arrives is drawn once a frame and followed until they scroll.

import { Blocks } from "./blocks";
import type { Note, Stream } from "./lines";
import { rangeOf, rowAt } from "./places";
import { type Filter, Sieve } from "./sieve";
import { Terminal } from "./terminal";

export interface LogOptions {
  container: HTMLElement;
  /** Where the whole log is, for when its oldest lines had to go. */
  href?: string;
  onLink?(first: number, last: number): void;
  onCount?(lines: number): void;
}

const DRAWING = 8; // milliseconds of a frame
const LOOKING = 5;
const CONTEXT = 40; // pixels above a line that is shown
const LOOKS = 12; // frames in which a line's place may settle
const marks = "highlights" in CSS ? new Highlight() : undefined;

export class Log {
  onFollowChange?: (on: boolean) => void;
  readonly #options: LogOptions;
  readonly #terminal = new Terminal();
  readonly #scroller = document.createElement("div");
  readonly #gone = document.createElement("p");
  readonly #all: Blocks;
  readonly #cells = new Map<number, number>();
  readonly #observer = new ResizeObserver(() => this.#follow && this.#schedule());
  #sieve: Sieve | undefined;
  #view: Blocks;
  #frame = 0;
  #follow = true;
  #top = 0;
  #topOfAll = 0;
  #t = 0;
  #wanted: { row: () => number; looks: number } | undefined;
  #marked: [number, number] | undefined;
  #mark: Range | undefined;

  constructor(options: LogOptions) {
    this.#options = options;
    const terminal = this.#terminal;
    this.#all = this.#view = new Blocks({
      get first() {
        return terminal.first;
      },
      get end() {
        return terminal.end;
      },
      at: (i) => terminal.line(i),
    });
    const scroller = this.#scroller;
    scroller.className = "dj-log";
    scroller.tabIndex = 0;
    for (const [name, value] of Object.entries({ role: "log", live: "off", label: "Log" })) {
      scroller.setAttribute(name === "role" ? name : `aria-${name}`, value);
    }
    this.#gone.className = "dj-gone";
    this.#gone.hidden = true;
    scroller.append(this.#gone, this.#all.root);
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    scroller.addEventListener("click", (event) => this.#clicked(event));
    options.container.append(scroller);
    this.wrap = matchMedia("(max-width: 600px)").matches;
    this.#observer.observe(scroller);
    this.#observer.observe(this.#all.root);
  }

  write(stream: Stream, text: string, t: number): void {
    this.#t = t;
    this.#terminal.write(stream, text, t);
    this.#schedule();
  }

  note(kind: Note, text: string, t: number): void {
    this.#t = t;
    if (kind === "cell") this.#cells.set(Number(/\d+/.exec(text)?.[0]), this.lines + 1);
    this.#terminal.note(kind, text, t);
    this.#schedule();
  }

  clearMark(): void {
    this.note("clear", "output cleared", this.#t);
  }

  end(): void {
    this.#terminal.finish();
    this.#schedule();
  }

  close(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = -1;
    this.#observer.disconnect();
    if (this.#mark) marks?.delete(this.#mark);
    this.#scroller.remove();
  }

  get lines(): number {
    return this.#terminal.end;
  }

  lineOfCell(index: number): number | null {
    return this.#cells.get(index) ?? null;
  }

  set filter(filter: Filter) {
    const isOn = filter.text !== "" || filter.stream !== "all";
    if (!this.#sieve) this.#topOfAll = this.#scroller.scrollTop;
    else this.#view.root.remove();
    this.#sieve = isOn ? new Sieve(this.#terminal, filter) : undefined;
    this.#view = this.#sieve ? new Blocks(this.#sieve) : this.#all;
    this.#view.stamp = this.#all.stamp;
    this.#all.root.hidden = isOn;
    if (isOn) this.#scroller.append(this.#view.root);
    this.#scrollTo(isOn ? 0 : this.#topOfAll);
    this.#schedule();
  }

  set wrap(on: boolean) {
    const row = this.#follow ? undefined : this.#rowAtPoint();
    this.#scroller.classList.toggle("dj-wrap", on);
    if (row !== undefined) this.#want(() => row);
    this.#schedule();
  }

  set timestamps(on: boolean) {
    for (const view of new Set([this.#all, this.#view])) {
      view.stamp = on ? clock : undefined;
      view.touchAll();
    }
    this.#schedule();
  }

  get follow(): boolean {
    return this.#follow;
  }

  set follow(on: boolean) {
    if (on === this.#follow) return;
    this.#follow = on;
    if (on) this.#wanted = undefined;
    this.onFollowChange?.(on);
    this.#schedule();
  }

  /** Show and mark lines, as soon as they are there. */
  reveal(first: number, last: number): void {
    this.follow = false;
    this.#marked = [first - 1, Math.max(first, last) - 1];
    this.#want(() => this.#row(first - 1));
    this.#scroller.scrollIntoView({ block: "nearest" });
  }

  selectedLines(): [number, number] | null {
    const selection = document.getSelection();
    if (!selection?.rangeCount || selection.isCollapsed) return null;
    const range = selection.getRangeAt(0);
    if (!range.intersectsNode(this.#view.root)) return null;
    const { rows } = this.#view;
    const [from] = rowAt(this.#view, range.startContainer, range.startOffset) ?? [rows.first];
    const end = rowAt(this.#view, range.endContainer, range.endOffset) ?? [rows.end, true];
    const to = end[1] && end[0] > from ? end[0] - 1 : end[0];
    const [first, last] = [rows.at(from), rows.at(to)];
    return first && last ? [first.number + 1, last.number + 1] : null;
  }

  #schedule(): void {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw(): void {
    this.#frame = 0;
    const { changed, end, first } = this.#terminal;
    for (const number of changed) {
      this.#all.touch(number);
      const found = this.#sieve?.again(number);
      if (found?.[1]) this.#view.touchAll(found[0]);
      else if (found) this.#view.touch(found[0]);
    }
    changed.clear();
    const isLooking = this.#sieve?.look(performance.now() + LOOKING);
    const isDrawing = this.#view.draw(performance.now() + DRAWING);
    this.#tellGone(first);
    const gutter = Math.max(4, String(end).length) + (this.#all.stamp ? 13 : 0);
    this.#scroller.style.setProperty("--g", `${gutter}ch`);
    this.#options.onCount?.(end);
    this.#drawMark();
    if (isLooking || isDrawing) this.#schedule();
    this.#arrive();
    if (this.#follow) this.#scrollTo(this.#scroller.scrollHeight);
  }

  #tellGone(count: number): void {
    if (!count || this.#gone.dataset.count === String(count)) return;
    this.#gone.dataset.count = String(count);
    this.#gone.hidden = false;
    this.#gone.textContent = `${count.toLocaleString("en")} earlier lines are not kept here. `;
    if (!this.#options.href) return;
    const link = document.createElement("a");
    link.href = this.#options.href;
    link.textContent = "The whole log";
    this.#gone.append(link);
  }

  #scrollTo(top: number): void {
    this.#scroller.scrollTop = top;
    this.#top = this.#scroller.scrollTop;
  }

  /** Our own writes come here too, but from where we left it nothing has moved. */
  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const moved = scrollTop - this.#top;
    const below = scrollHeight - clientHeight - scrollTop;
    this.#top = scrollTop;
    if (moved < 0 && below > 1) this.follow = false;
    else if (moved > 0 && below < 8 && !this.#wanted) this.follow = true;
  }

  #row(number: number): number {
    return this.#sieve ? this.#sieve.row(number) : number;
  }

  #want(row: () => number): void {
    this.#wanted = { row, looks: LOOKS };
    this.#schedule();
  }

  /** Go to the wanted row: a block that was far away has its true place only when it is near. */
  #arrive(): void {
    const row = this.#wanted?.row();
    if (!this.#wanted || row === undefined || !this.#view.has(row)) return;
    const found = this.#view.find(row);
    const range = rangeOf(this.#view, row, row);
    if (!found || !range) return;
    const { top, height } = range.getBoundingClientRect();
    const box = found[0].getBoundingClientRect();
    const share = found[1] / Number(found[0].style.getPropertyValue("--n"));
    const at = height ? top : box.top + box.height * share;
    const off = at - this.#scroller.getBoundingClientRect().top - CONTEXT;
    const before = this.#scroller.scrollTop;
    this.#scrollTo(before + off);
    const isThere = height > 0 && Math.abs(this.#scroller.scrollTop - before) < 1;
    if (isThere || !--this.#wanted.looks) this.#wanted = undefined;
    else this.#schedule();
  }

  #drawMark(): void {
    if (!this.#marked) return;
    const first = this.#row(this.#marked[0]);
    let last = this.#row(this.#marked[1] + 1) - 1;
    while (last > first && !this.#view.has(last)) last--;
    const range = this.#view.has(first) && last >= first && rangeOf(this.#view, first, last);
    if (!range) return;
    if (this.#mark) marks?.delete(this.#mark);
    this.#mark = range;
    if (!marks) document.getSelection()?.setBaseAndExtent(...ends(range));
    else CSS.highlights.set("dj-line", marks.add(range));
    if (!marks) this.#marked = undefined;
  }

  /** The row at a height of the scroller, by its text: with wrap on rows have no equal heights. */
  #rowAtPoint(y = this.#scroller.getBoundingClientRect().top + 4): number | undefined {
    const x = this.#scroller.getBoundingClientRect().left + this.#gutter() + 4;
    const at = document.caretPositionFromPoint?.(x, y);
    return at ? rowAt(this.#view, at.offsetNode, at.offset)?.[0] : undefined;
  }

  #gutter(): number {
    const block = this.#view.root.firstElementChild;
    return block ? Number.parseFloat(getComputedStyle(block).paddingLeft) : 0;
  }

  #clicked(event: MouseEvent): void {
    const target = event.target as Element;
    const more = target.closest<HTMLElement>(".dj-more");
    if (more) {
      const number = Number(more.dataset.line);
      this.#view.whole.add(number);
      this.#view.touch(this.#row(number));
      this.#schedule();
      return;
    }
    const x = event.clientX - this.#scroller.getBoundingClientRect().left;
    if (!target.closest("pre") || x > this.#gutter() || !document.getSelection()?.isCollapsed)
      return;
    const row = this.#rowAtPoint(event.clientY);
    const number = row === undefined ? undefined : this.#view.rows.at(row)?.number;
    if (number === undefined) return;
    const other = event.shiftKey && this.#marked ? this.#marked[0] : number;
    this.#marked = [Math.min(number, other), Math.max(number, other)];
    this.#schedule();
    this.#options.onLink?.(this.#marked[0] + 1, this.#marked[1] + 1);
  }
}

const ends = (range: Range): [Node, number, Node, number] => [
  range.startContainer,
  range.startOffset,
  range.endContainer,
  range.endOffset,
];

/** A time of day, to the millisecond, where the reader is. */
function clock(t: number): string {
  const at = new Date(t * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const seconds = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return `${seconds}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
