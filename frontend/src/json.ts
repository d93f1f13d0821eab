// <djsci-json>: any JSON value as a tree, and as a table where it is rows.

import { html, nothing, type TemplateResult } from "lit/html.js";
import { copyWith, download } from "./copy.ts";
import { Drawn } from "./drawn.ts";
import type { Reference } from "./events.ts";
import { Exact, parse, stringify } from "./exact.ts";
import { bytes } from "./format.ts";
import { JsonTree } from "./json-tree.ts";
import { drawTable, PAGE, type Table, tableOf, toCsv } from "./table.ts";

export class DjsciJson extends Drawn {
  name = "result"; // of the files that are saved
  href: string | null = null; // where the server has the value as a file
  reference: Reference | null = null; // a value too large to come by itself
  #held: unknown;
  #size = -1;
  #tree = new JsonTree(() => this.redraw());
  #table: Table | null = null;
  #view: "table" | "tree" = "tree";
  #rows = PAGE;
  #isChosen = false;
  #isTall = false;
  #isMissing = false;

  get value(): unknown {
    return this.#held;
  }

  set value(value: unknown) {
    const size = Array.isArray(value) ? value.length : 0;
    if (value === this.#held && size === this.#size) return;
    this.#held = value;
    this.#size = size;
    this.#table = tableOf(value);
    if (!this.#isChosen) this.#view = this.#table ? "table" : "tree";
    this.redraw();
  }

  // Of a list that grows in place.
  set length(_length: number) {
    this.value = this.#held;
  }

  set text(text: string) {
    this.value = parse(text);
  }

  connectedCallback(): void {
    const script = this.querySelector('script[type="application/json"]');
    if (this.value === undefined && script) this.text = script.textContent ?? "null";
    this.drawNow();
  }

  protected draw(): TemplateResult | typeof nothing {
    const { value } = this;
    if (value === undefined) return this.reference ? this.#offer(this.reference) : nothing;
    const isPlain = typeof value !== "object" || value === null || value instanceof Exact;
    return html`<div class="dj-tools">${this.#table ? this.#drawSwitch() : nothing}${this.#drawActions()}</div>
      <div class=${this.#isTall ? "dj-tall" : ""}>${isPlain ? this.#drawPlain() : this.#drawNested()}</div>`;
  }

  #offer({ ref, size }: Reference): TemplateResult {
    return html`<div class="dj-tools">
      <span class="quiet">${bytes(size)}${this.#isMissing ? ", it could not be read" : ""}</span>
      <a class="link" href=${ref} download="${this.name}.json">Download</a>
      <button class="link" @click=${() => this.#fetch(ref)}>Show anyway</button>
    </div>`;
  }

  async #fetch(address: string): Promise<void> {
    try {
      const answer = await fetch(address, { headers: { Accept: "application/json" } });
      this.#isMissing = !answer.ok;
      if (answer.ok) this.text = await answer.text();
    } catch {
      this.#isMissing = true;
    }
    this.redraw();
  }

  #drawNested(): TemplateResult {
    if (this.#view === "table" && this.#table)
      return drawTable(this.#table, this.#rows, () => {
        this.#rows += PAGE;
        this.redraw();
      });
    this.#tree.show(this.value);
    return this.#tree.draw();
  }

  #drawPlain(): TemplateResult {
    const { value } = this;
    const text = typeof value === "string" ? value : stringify(value);
    return html`<pre class="dj-plain" tabindex="0" aria-label="Value">${text}</pre>`;
  }

  #drawSwitch(): TemplateResult {
    const choose = (view: "table" | "tree") => () => {
      this.#isChosen = true;
      this.#view = view;
      this.redraw();
    };
    return html`<span class="dj-switch" role="group" aria-label="Show as">
      <button aria-pressed=${this.#view === "table"} @click=${choose("table")}>Table</button
      ><button aria-pressed=${this.#view === "tree"} @click=${choose("tree")}>Tree</button>
    </span>`;
  }

  #drawActions(): TemplateResult {
    const { name } = this;
    const table = this.#table;
    const json = () => (typeof this.value === "string" ? this.value : stringify(this.value));
    const save = () => download(`${name}.json`, stringify(this.value), "application/json");
    const grow = () => {
      this.#isTall = !this.#isTall;
      this.redraw();
    };
    return html`${
      typeof this.value === "object"
        ? html`<button class="link" aria-expanded=${this.#isTall} @click=${grow}>${this.#isTall ? "Fold" : "Expand"}</button>`
        : nothing
    }
      <button class="link" @click=${(event: Event) => copyWith(event, json())}>Copy</button>
      ${
        table && this.#view === "table"
          ? html`<button class="link" @click=${(event: Event) => copyWith(event, toCsv(table))}>Copy CSV</button>
              <button class="link" @click=${() => download(`${name}.csv`, toCsv(table), "text/csv")}>CSV</button>`
          : nothing
      }
      ${
        this.href
          ? html`<a class="link" href=${this.href} download="${name}.json">JSON</a>`
          : html`<button class="link" @click=${save}>JSON</button>`
      }`;
  }
}
