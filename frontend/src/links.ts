// Links to lines: go to one, mark them, and pick one at its number.

import type { Blocks } from "./blocks";
import { rangeOf, rowAt } from "./places";

const CONTEXT = 40; // pixels above a line that is shown
const LOOKS = 12; // frames in which a line's place may settle
const marks = "highlights" in CSS ? new Highlight() : undefined;

/** What is on the page now: the whole log or what a filter left of it. */
export interface Shown {
  readonly scroller: HTMLElement;
  readonly blocks: Blocks;
  row(number: number): number;
  scrollTo(top: number): void;
}

export class Links {
  readonly #shown: Shown;
  #wanted: { row: () => number; looks: number } | undefined;
  #marked: [number, number] | undefined;
  #mark: Range | undefined;

  constructor(shown: Shown) {
    this.#shown = shown;
  }

  get isBusy(): boolean {
    return this.#wanted !== undefined;
  }

  forget(): void {
    this.#wanted = undefined;
  }

  mark(first: number, last: number): void {
    this.#marked = [Math.min(first, last), Math.max(first, last)];
  }

  goTo(number: number): void {
    this.#want(() => this.#shown.row(number));
  }

  /** What is at the top shall be there when heights have changed. */
  hold(): void {
    const row = this.#rowAt(this.#box().top + CONTEXT + 4);
    if (row !== undefined) this.#want(() => row);
  }

  #want(row: () => number): void {
    this.#wanted = { row, looks: LOOKS };
  }

  /**
   * Scroll to what is wanted once it is drawn: a block that was far away has its true place only
   * when it is near. Whether to look again in the next frame.
   */
  arrive(): boolean {
    const { scroller, blocks } = this.#shown;
    const row = this.#wanted?.row();
    if (!this.#wanted || row === undefined || !blocks.has(row)) return false;
    const found = blocks.find(row);
    const range = rangeOf(blocks, row, row);
    if (!found || !range) return false;
    const { top, height } = range.getBoundingClientRect();
    const box = found[0].getBoundingClientRect();
    const share = found[1] / Number(found[0].style.getPropertyValue("--n"));
    const at = height ? top : box.top + box.height * share;
    const before = scroller.scrollTop;
    this.#shown.scrollTo(before + at - this.#box().top - CONTEXT);
    const isThere = height > 0 && Math.abs(scroller.scrollTop - before) < 1;
    if (isThere || !--this.#wanted.looks) this.#wanted = undefined;
    return this.isBusy;
  }

  /** Lines may have been drawn afresh, or only now: the mark follows them. */
  draw(): void {
    if (!this.#marked) return;
    const { blocks } = this.#shown;
    const first = this.#shown.row(this.#marked[0]);
    const last = Math.min(this.#shown.row(this.#marked[1] + 1), blocks.drawn) - 1;
    const range = blocks.has(first) && last >= first && rangeOf(blocks, first, last);
    this.#unmark();
    if (!range) return;
    this.#mark = range;
    if (marks) {
      CSS.highlights.set("dj-line", marks.add(range));
    } else {
      document.getSelection()?.removeAllRanges();
      document.getSelection()?.addRange(range);
      this.#marked = undefined;
    }
  }

  #unmark(): void {
    if (this.#mark) marks?.delete(this.#mark);
    this.#mark = undefined;
  }

  /** The lines of a click on a number, from the marked one on with Shift; they are marked. */
  picked(event: MouseEvent): [number, number] | undefined {
    const { blocks } = this.#shown;
    const isNumber = event.clientX - this.#box().left < this.#gutter();
    if (!isNumber || !document.getSelection()?.isCollapsed) return undefined;
    const row = this.#rowAt(event.clientY);
    const number = row === undefined ? undefined : blocks.rows.at(row)?.number;
    if (number === undefined) return undefined;
    this.mark((event.shiftKey ? this.#marked?.[0] : undefined) ?? number, number);
    return this.#marked;
  }

  /** The lines of the reader's selection, counted from 1; what only begins one is not in it. */
  selected(): [number, number] | null {
    const { blocks } = this.#shown;
    const selection = document.getSelection();
    if (!selection?.rangeCount || selection.isCollapsed) return null;
    const range = selection.getRangeAt(0);
    if (!range.intersectsNode(blocks.root)) return null;
    const { rows } = blocks;
    const [from] = rowAt(blocks, range.startContainer, range.startOffset) ?? [rows.first];
    const end = rowAt(blocks, range.endContainer, range.endOffset) ?? [rows.end, true];
    const to = end[1] && end[0] > from ? end[0] - 1 : end[0];
    const [first, last] = [rows.at(from), rows.at(to)];
    return first && last ? [first.number + 1, last.number + 1] : null;
  }

  close(): void {
    this.#unmark();
  }

  #box(): DOMRect {
    return this.#shown.scroller.getBoundingClientRect();
  }

  /** The row at a height, by its text: with wrap on, rows are not equally high. */
  #rowAt(y: number): number | undefined {
    const at = document.caretPositionFromPoint?.(this.#box().left + this.#gutter() + 4, y);
    return at ? rowAt(this.#shown.blocks, at.offsetNode, at.offset)?.[0] : undefined;
  }

  #gutter(): number {
    const block = this.#shown.blocks.root.firstElementChild;
    return block ? Number.parseFloat(getComputedStyle(block).paddingLeft) : 0;
  }
}
