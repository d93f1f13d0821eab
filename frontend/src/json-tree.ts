// A JSON value as an ARIA tree: only what is open exists, 100 children a page.

import { html, nothing, type TemplateResult } from "lit/html.js";
import { Exact } from "./exact.ts";
import { number } from "./format.ts";

const PAGE = 100;
const LONG = 300; // characters of a string before it folds
const OPEN_AT_ONCE = 60; // nodes

type Entry = [name: string | null, value: unknown];

export class JsonTree {
  #open = new Map<string, number>(); // path -> children shown
  #current = "";
  #value: unknown;

  constructor(private redraw: () => void) {}

  show(value: unknown): void {
    if (value === this.#value) return;
    this.#value = value;
    this.#open.clear();
    this.#current = "";
    let left = OPEN_AT_ONCE;
    const level: [string, unknown][] = [["", value]];
    for (let next = level.shift(); next; next = level.shift()) {
      const [path, node] = next;
      const size = sizeOf(node);
      if (!size || (path && (size > left || isShort(node)))) continue;
      this.#open.set(path, PAGE);
      left -= size;
      if (size <= PAGE)
        entries(node, PAGE).forEach(([, child], at) => {
          if (typeof child !== "string") level.push([`${path}/${at}`, child]);
        });
    }
  }

  draw(): TemplateResult {
    return html`<div
      class="dj-tree"
      role="tree"
      aria-label="JSON"
      @keydown=${this.#onKey}
      @click=${this.#onClick}
    >
      ${this.#node([null, this.#value], "", 1, 1, 1)}
    </div>`;
  }

  #node(
    [name, value]: Entry,
    path: string,
    level: number,
    place: number,
    of: number,
  ): TemplateResult {
    const size = sizeOf(value);
    const shown = this.#open.get(path);
    const isOpen = shown !== undefined;
    return html`<div
      role="treeitem"
      data-path=${path}
      aria-level=${level}
      aria-setsize=${of}
      aria-posinset=${place}
      aria-expanded=${size ? String(isOpen) : nothing}
      aria-selected=${path === this.#current}
      tabindex=${path === this.#current ? 0 : -1}
    >
      <span class="dj-node"
        >${name === null ? nothing : html`<span class="dj-key">${name}</span>: `}${drawValue(value, isOpen)}</span
      >${
        isOpen && typeof value === "object"
          ? html`<div role="group">
              ${entries(value, shown).map((entry, at) => this.#node(entry, `${path}/${at}`, level + 1, at + 1, size))}
              ${shown < size ? this.#more(path, level + 1, shown, size) : nothing}
            </div>`
          : nothing
      }
    </div>`;
  }

  #more(path: string, level: number, shown: number, size: number): TemplateResult {
    const own = `${path}/more`;
    return html`<div
      role="treeitem"
      data-path=${own}
      data-more=${path}
      aria-level=${level}
      aria-selected=${own === this.#current}
      tabindex=${own === this.#current ? 0 : -1}
    >
      <span class="dj-node dj-further"
        >Show ${number(Math.min(PAGE, size - shown))} more, ${number(shown)} of ${number(size)} shown</span
      >
    </div>`;
  }

  #act(item: HTMLElement, wanted?: boolean): void {
    const { path = "", more } = item.dataset;
    this.#current = path;
    if (more !== undefined) {
      const shown = this.#open.get(more) ?? 0;
      this.#open.set(more, shown + PAGE);
      this.#current = `${more}/${shown}`; // the first that is new takes the place
    } else if (item.hasAttribute("aria-expanded")) {
      if (wanted ?? !this.#open.has(path)) this.#open.set(path, this.#open.get(path) ?? PAGE);
      else this.#open.delete(path);
    }
    this.redraw();
  }

  #onClick = (event: Event): void => {
    const item = (event.target as Element).closest<HTMLElement>("[role=treeitem]");
    if (!item || getSelection()?.type === "Range") return;
    this.#act(item);
  };

  #onKey = (event: KeyboardEvent): void => {
    const item = (event.target as Element).closest<HTMLElement>("[role=treeitem]");
    if (!item || event.altKey || event.ctrlKey || event.metaKey) return;
    const tree = event.currentTarget as HTMLElement;
    const all = [...tree.querySelectorAll<HTMLElement>("[role=treeitem]")];
    const at = all.indexOf(item);
    const expanded = item.getAttribute("aria-expanded");
    const parent = item.parentElement?.closest<HTMLElement>("[role=treeitem]");
    const moves: Record<string, () => HTMLElement | null | undefined> = {
      ArrowDown: () => all[at + 1],
      ArrowUp: () => all[at - 1],
      Home: () => all[0],
      End: () => all.at(-1),
      ArrowRight: () => (expanded === "true" ? all[at + 1] : this.#unfold(item, expanded)),
      ArrowLeft: () => (expanded === "true" ? this.#unfold(item, expanded) : parent),
      Enter: () => this.#unfold(item, "toggle"),
      " ": () => this.#unfold(item, "toggle"),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const goal = move();
    if (!goal) return;
    this.#current = goal.dataset.path ?? "";
    this.redraw();
    goal.focus();
  };

  #unfold(item: HTMLElement, expanded: string | null): null {
    if (expanded) this.#act(item, expanded === "toggle" ? undefined : expanded === "false");
    return null;
  }
}

function sizeOf(value: unknown): number {
  if (typeof value === "string") return value.length > LONG ? 1 : 0;
  if (typeof value !== "object" || value === null || value instanceof Exact) return 0;
  return Array.isArray(value) ? value.length : Object.keys(value).length;
}

function entries(value: unknown, most: number): Entry[] {
  if (Array.isArray(value))
    return value.slice(0, most).map((child, at): Entry => [String(at), child]);
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).slice(0, most);
}

function drawValue(value: unknown, isOpen: boolean): TemplateResult {
  if (typeof value === "string") return drawString(value, isOpen);
  if (value instanceof Exact) return html`<span class="dj-num">${value.source}</span>`;
  if (typeof value !== "object" || value === null)
    return html`<span class=${typeof value === "number" ? "dj-num" : "dj-lit"}>${String(value)}</span>`;
  const size = sizeOf(value);
  const [left, right] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (!size) return html`<span>${left}${right}</span>`;
  const inside = isOpen ? "" : preview(value);
  return html`<span>${left}${inside}${right}</span> <span class="quiet">${number(size)}</span>`;
}

const drawString = (value: string, isOpen: boolean) =>
  value.length > LONG && !isOpen
    ? html`<span class="dj-str">${JSON.stringify(value.slice(0, LONG))}</span>
        <span class="quiet">… ${number(value.length)} characters</span>`
    : html`<span class="dj-str">${JSON.stringify(value)}</span>`;

// All of it fits into its preview.
const isShort = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !/…$|…,/.test(preview(value));

function preview(value: object): string {
  const parts: string[] = [];
  for (const [name, child] of entries(value, 6)) {
    const text =
      typeof child === "object" && child !== null && !(child instanceof Exact)
        ? "…"
        : child instanceof Exact
          ? child.source
          : clipped(JSON.stringify(child));
    parts.push(Array.isArray(value) ? text : `${name}: ${text}`);
    if (parts.join(", ").length > 60) break;
  }
  return parts.join(", ") + (parts.length < sizeOf(value) ? ", …" : "");
}

const clipped = (text: string): string => (text.length > 40 ? `${text.slice(0, 39)}…` : text);
