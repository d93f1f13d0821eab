// A run as its notebook: cell by cell the source, what it printed and displayed, and for how long.

import { html, nothing, render, type TemplateResult } from "lit/html.js";
import { AnsiText } from "./ansi-text.ts";
import type { CellInfo, Config } from "./config.ts";
import type { FigureOptions } from "./figure.ts";
import { seconds, ticking } from "./format.ts";
import { OutputList } from "./outputs.ts";
import type { CellState, Run } from "./run.ts";
import { placeOf } from "./words.ts";

interface Row {
  info: CellInfo;
  source: Node | null;
  text: HTMLElement;
  pieces: CellState["text"];
  written: number;
  printed: AnsiText;
  list: OutputList;
}
const MARKS: Record<string, string> = { running: "●", done: "✓", failed: "✕" };
const HANDLER = 0;
const WORDS = { start: "running", done: "done", error: "failed" };

export class NotebookView {
  readonly element = document.createElement("div");
  #rows = new Map<number, Row>();

  constructor(
    private host: HTMLElement, // holds the templates of the sources
    private config: Config,
    private options: FigureOptions,
  ) {
    this.element.className = "dj-notebook";
  }

  draw(run: Run, now: number): void {
    render(
      [
        ...this.#cells(run).map((info) => this.#drawCell(this.#row(info), run, now)),
        this.#drawHandler(run),
      ],
      this.element,
    );
  }

  close(): void {
    for (const row of this.#rows.values()) row.list.close();
    this.#rows.clear();
    render(nothing, this.element);
  }

  // Who may not read the source still sees that there are cells.
  #cells(run: Run): CellInfo[] {
    if (this.config.cells?.length) return this.config.cells;
    const known = Math.max(0, ...run.cells.keys(), run.cell?.count ?? 0);
    return Array.from({ length: Math.min(known, 1000) }, (_, at) => ({
      index: at + 1,
      kind: "code",
      name: "",
    }));
  }

  #row(info: CellInfo): Row {
    let row = this.#rows.get(info.index);
    if (!row) {
      const template = this.host.querySelector<HTMLTemplateElement>(
        `template[data-cell="${info.index}"]`,
      );
      const source = template && document.createElement("div");
      if (source && template) source.append(template.content.cloneNode(true));
      row = {
        info,
        source,
        text: document.createElement("div"),
        pieces: [],
        written: 0,
        printed: new AnsiText(),
        list: new OutputList(this.options),
      };
      this.#rows.set(info.index, row);
    }
    return row;
  }

  #drawCell(row: Row, run: Run, now: number): TemplateResult {
    const { info } = row;
    if (info.kind === "markdown") return html`<div class="dj-nb-cell">${row.source}</div>`;
    const cell = run.cells.get(info.index) ?? null;
    const isStopped = cell?.state === "start" && run.end !== null;
    // A handler may fail long after the cell that defines it was done.
    const isFailed = run.error?.cell === info.index;
    const done = cell ? (isStopped ? "stopped" : WORDS[cell.state]) : "waiting";
    const state = isFailed ? "failed" : done;
    const time = cell && (cell.ended ?? (isStopped ? null : now));
    this.#drawText(row, cell);
    row.list.draw(run.outputs.filter((one) => one.cell === info.index));
    const took = cell && time ? time - cell.started : null;
    return html`<section
      class="dj-nb-cell dj-code-cell"
      data-state=${state}
      id="cell-${info.index}"
      aria-label="Cell ${info.index}, ${state}"
    >
      <p class="dj-gutter">
        <span class="dj-mark" aria-hidden="true">${MARKS[state] ?? "○"}</span>
        <span>cell ${info.index}</span>
        ${info.name ? html`<span>${info.name}</span>` : nothing}
        <span>${state === "done" ? nothing : state}</span>
        ${took === null ? nothing : html`<span class="dj-took">${cell?.ended ? seconds(Math.max(took, 0.01)) : ticking(took)}</span>`}
      </p>
      ${row.source}${row.text}${row.list.element}
      ${state === "failed" && run.error?.cell === info.index ? drawError(run) : nothing}
    </section>`;
  }

  // What the handler printed and displayed, when all cells had run.
  #drawHandler(run: Run): TemplateResult | typeof nothing {
    const own = run.outputs.filter((one) => one.cell === null);
    if (!own.length && !run.called.text.length) return nothing;
    const row = this.#row({ index: HANDLER, kind: "code", name: "" });
    this.#drawText(row, run.called);
    row.list.draw(own);
    return html`<section class="dj-nb-cell dj-code-cell" aria-label="Handler">
      <p class="dj-gutter">djsci_handler</p>
      ${row.text}${row.list.element}
    </section>`;
  }

  #drawText(row: Row, cell: CellState | null): void {
    const pieces = cell?.text ?? [];
    if (row.pieces !== pieces) {
      row.pieces = pieces; // it was cleared, or began
      row.written = 0;
      row.printed = new AnsiText();
      row.text.replaceChildren();
    }
    if (row.written === pieces.length) return;
    if (!row.written) row.text.append(row.printed.element);
    for (; row.written < pieces.length; row.written++) {
      const piece = pieces[row.written];
      if (piece) row.printed.write(piece.stream, piece.text, piece.t);
    }
    row.printed.draw();
    if (cell?.dropped && row.text.childElementCount === 1)
      row.text.append(
        Object.assign(document.createElement("p"), { textContent: "The rest is in the log." }),
      );
  }
}

const drawError = ({ error }: Run): TemplateResult =>
  html`<p class="dj-failure">
    <strong>${error?.ename}</strong>: ${error?.evalue}
    <span class="quiet">${placeOf(null, error?.line ?? null)}</span>
  </p>`;
