// The log as a reader sees it: what arrives is drawn once a frame and followed until they scroll.

import { Blocks } from "./blocks";
import type { Note, Stream } from "./lines";
import { Links } from "./links";
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

export class Log {
  onFollowChange?: (on: boolean) => void;
  readonly #options: LogOptions;
  readonly #terminal = new Terminal();
  readonly #scroller = document.createElement("div");
  readonly #gone = document.createElement("p");
  readonly #all: Blocks;
  readonly #links: Links;
  readonly #cells = new Map<number, number>();
  readonly #observer = new ResizeObserver(() => this.#follow && this.#schedule());
  #sieve: Sieve | undefined;
  #view: Blocks;
  #frame = 0;
  #follow = true;
  #top = 0;
  #bottom = 0;
  #topOfAll = 0;
  #t = 0;

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
    const view = (): Blocks => this.#view;
    this.#links = new Links({
      scroller,
      get blocks() {
        return view();
      },
      row: (number) => this.#row(number),
      scrollTo: (top) => this.#scrollTo(top),
    });
    scroller.className = "dj-log";
    scroller.tabIndex = 0;
    scroller.role = "log";
    scroller.ariaLive = "off";
    scroller.ariaLabel = "Log";
    this.#gone.className = "dj-gone";
    this.#gone.hidden = true;
    scroller.append(this.#gone, this.#all.root);
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    scroller.addEventListener("click", (event) => this.#clicked(event));
    scroller.addEventListener("keydown", ({ key }) => {
      if (key === "End") this.follow = true;
    });
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

  /** No more text comes. */
  end(): void {
    this.#terminal.finish();
    this.#schedule();
  }

  /** Off the page, for good. */
  close(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = -1;
    this.#observer.disconnect();
    this.#links.close();
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
    this.#view.isTimed = this.#all.isTimed;
    this.#all.root.hidden = isOn;
    if (isOn) this.#scroller.append(this.#view.root);
    this.#scrollTo(isOn ? 0 : this.#topOfAll);
    this.#schedule();
  }

  set wrap(on: boolean) {
    if (!this.#follow) this.#links.hold();
    this.#scroller.classList.toggle("dj-wrap", on);
    this.#schedule();
  }

  set timestamps(on: boolean) {
    for (const view of new Set([this.#all, this.#view])) {
      view.isTimed = on;
      view.touch(0, true);
    }
    this.#schedule();
  }

  get follow(): boolean {
    return this.#follow;
  }

  set follow(on: boolean) {
    if (on === this.#follow) return;
    this.#follow = on;
    if (on) this.#links.forget();
    this.onFollowChange?.(on);
    this.#schedule();
  }

  /** Show and mark lines, as soon as they are there. */
  reveal(first: number, last: number): void {
    this.follow = false;
    this.#links.mark(first - 1, last - 1);
    this.#links.goTo(first - 1);
    this.#scroller.scrollIntoView({ block: "nearest" });
    this.#schedule();
  }

  /** Of the reader's selection, for a link to it. */
  selectedLines(): [number, number] | null {
    return this.#links.selected();
  }

  #row(number: number): number {
    return this.#sieve ? this.#sieve.row(number) : number;
  }

  #schedule(): void {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw(): void {
    this.#frame = 0;
    const scroller = this.#scroller;
    this.#bottom = scroller.scrollHeight - scroller.clientHeight;
    const { changed, end, first } = this.#terminal;
    for (const number of changed) {
      this.#all.touch(number);
      const found = this.#sieve?.again(number);
      if (found) this.#view.touch(...found);
    }
    changed.clear();
    const isLooking = this.#sieve?.look(performance.now() + LOOKING);
    const isDrawing = this.#view.draw(performance.now() + DRAWING);
    this.#tellGone(first);
    const gutter = Math.max(4, String(end).length) + (this.#all.isTimed ? 13 : 0);
    scroller.style.setProperty("--g", `${gutter}ch`);
    this.#options.onCount?.(end);
    this.#links.draw();
    if (this.#links.arrive() || isLooking || isDrawing) this.#schedule();
    if (this.#follow) this.#scrollTo(scroller.scrollHeight);
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

  /**
   * Our own writes come here too, but from where they left it nothing has moved. The bottom may
   * have moved on since the reader reached it: the one of the last frame counts.
   */
  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const moved = scrollTop - this.#top;
    const bottom = scrollHeight - clientHeight;
    this.#top = scrollTop;
    if (moved < 0 && scrollTop < bottom - 1) this.follow = false;
    else if (moved > 0 && scrollTop > Math.min(bottom, this.#bottom) - 8 && !this.#links.isBusy) {
      this.follow = true;
    }
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
    const picked = target.closest("pre") && this.#links.picked(event);
    if (!picked) return;
    this.#schedule();
    this.#options.onLink?.(picked[0] + 1, picked[1] + 1);
  }
}
