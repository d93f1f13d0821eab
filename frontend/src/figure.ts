// One output on the page. An update loads beside what is shown and takes its place when it is ready.

import { html, nothing, render, type TemplateResult } from "lit/html.js";
import type { Reference } from "./events.ts";
import { bytes } from "./format.ts";
import { forgetAwake, keepAwake, OutputFrame, type Sleeper } from "./frame.ts";
import { DjsciJson } from "./json.ts";
import { best, imageAddress, isReference, type Part, textOf } from "./mime.ts";
import type { Output } from "./run.ts";

export interface FigureOptions {
  outputs: string; // address of the run's outputs
  isInteractive: boolean;
  ansi(text: string): Node; // text with its colours
}

const PAUSE = 250; // milliseconds between two updates that are drawn

export class OutputFigure implements Sleeper {
  readonly element = document.createElement("figure");
  isInSight = false;
  #body = document.createElement("div");
  #foot = document.createElement("div");
  #frame: OutputFrame | null = null;
  #next: OutputFrame | null = null;
  #seq = 0;
  #drawn = Number.NEGATIVE_INFINITY;
  #timer = 0;
  #blocked = 0;
  #isExpanded = false;
  #isAwake: boolean;
  #isInteractive: boolean;

  constructor(
    private output: Output,
    private options: FigureOptions,
    isEager: boolean,
  ) {
    this.#isAwake = isEager;
    this.#isInteractive = options.isInteractive;
    this.element.className = "dj-output";
    this.#body.className = "dj-body";
    this.#foot.className = "dj-foot";
    this.element.append(this.#body, this.#foot);
    this.update(output);
  }

  update(output: Output): void {
    this.output = output;
    if (this.#seq === output.seq || this.#timer) return;
    const rest = PAUSE - (performance.now() - this.#drawn);
    if (rest <= 0) this.#draw();
    else
      this.#timer = window.setTimeout(() => {
        this.#timer = 0;
        this.#draw();
      }, rest);
  }

  // Comes into sight, or leaves it.
  seen(isInSight: boolean): void {
    this.isInSight = isInSight;
    if (!isInSight || this.#frame || this.#next) return;
    this.#isAwake = true;
    if (best(this.output.data)?.way === "frame") this.#draw();
  }

  // One that still loads sleeps too: else many would live that nobody sees.
  sleep(): void {
    const shown = this.#frame ?? this.#next;
    if (!shown) return;
    this.#body.style.minHeight = `${shown.element.offsetHeight}px`;
    this.#frame?.close();
    this.#next?.close();
    this.#frame = this.#next = null;
    this.#isAwake = false;
  }

  remove(): void {
    clearTimeout(this.#timer);
    forgetAwake(this);
    this.#frame?.close();
    this.#next?.close();
    this.element.remove();
  }

  #draw(): void {
    const { output } = this;
    this.#drawn = performance.now();
    this.#seq = output.seq;
    const part = best(output.data);
    if (part?.way === "frame") {
      if (this.#isAwake) this.#load();
      else this.#body.style.minHeight ||= "96px";
      return;
    }
    this.#frame?.close();
    this.#next?.close();
    this.#frame = this.#next = null;
    if (part?.way === "image") this.#drawImage(part);
    else this.#body.replaceChildren(this.#still(part));
  }

  #load(): void {
    this.#next?.close();
    const level = this.#isInteractive ? "?level=interactive" : "";
    const made = new OutputFrame(
      `${this.options.outputs}${this.#seq}/frame/${level}`,
      `Output ${this.#seq}`,
      {
        ready: () => this.#swap(made),
        report: ({ blocked }) => {
          if (made !== this.#frame) return;
          this.#blocked = blocked;
          this.#drawFoot();
        },
      },
    );
    made.guess(rowsIn(best(this.output.data)?.value));
    made.isExpanded = this.#isExpanded;
    this.#next = made;
    made.element.className = this.#frame ? "dj-coming" : "";
    this.#body.append(made.element);
    keepAwake(this);
  }

  #swap(made: OutputFrame): void {
    if (made !== this.#next) return;
    this.#frame?.close();
    this.#next = null;
    this.#frame = made;
    made.element.className = "";
    for (const other of [...this.#body.childNodes]) if (other !== made.element) other.remove();
    this.#body.style.minHeight = "";
    this.#drawFoot();
  }

  #drawFoot(): void {
    const frame = this.#frame;
    const run = () => {
      this.#isInteractive = true;
      this.#blocked = 0;
      this.#load();
      this.#drawFoot();
    };
    const expand = () => {
      this.#isExpanded = !this.#isExpanded;
      if (frame) frame.isExpanded = this.#isExpanded;
      this.#drawFoot();
    };
    render(
      html`${
        frame?.isCut
          ? html`<button class="link" aria-expanded=${this.#isExpanded} @click=${expand}>
              ${this.#isExpanded ? "Fold" : "Expand"}
            </button>`
          : nothing
      }${this.#blocked && !this.#isInteractive ? this.#offer(run) : nothing}`,
      this.#foot,
    );
  }

  #offer(run: () => void): TemplateResult {
    return html`<button class="link" @click=${run}>Run its scripts</button>
      <span class="quiet">They could send away what this output shows.</span>`;
  }

  #drawImage(part: Part): void {
    const image = document.createElement("img");
    image.alt = textOf(this.output.data["text/plain"]) || `Output ${this.#seq}`;
    image.src = imageAddress(part, this.#dataOf(part));
    const { width, height } = sizeOf(this.output.metadata[part.mime]);
    if (width) image.width = width;
    if (height) image.height = height;
    const seq = this.#seq;
    const show = () => {
      if (seq === this.#seq) this.#body.replaceChildren(image);
    };
    if (this.#body.firstChild instanceof HTMLImageElement) image.decode().then(show, show);
    else show();
  }

  // What needs no loading.
  #still(part: Part | null): Node {
    if (!part) return document.createTextNode("This output is empty.");
    const { value } = part;
    if (part.way === "text")
      return isReference(value) ? this.#link(part, value) : this.options.ansi(textOf(value));
    const tree = new DjsciJson();
    if (isReference(value)) tree.reference = { ref: this.#dataOf(part), size: value.size };
    else tree.value = value;
    tree.name = `output-${this.#seq}`;
    return tree;
  }

  #link(part: Part, { size }: Reference): Node {
    const link = document.createElement("a");
    link.href = this.#dataOf(part);
    link.download = "";
    link.textContent = `Download ${part.mime}, ${bytes(size)}`;
    return link;
  }

  #dataOf({ mime }: Part): string {
    return `${this.options.outputs}${this.#seq}/data/?type=${encodeURIComponent(mime)}`;
  }
}

// So that little moves when the frame tells its true height.
const rowsIn = (part: unknown): number =>
  textOf(part).match(/<(?:tr|p|br|li|h\d)\b/gi)?.length ?? 3;

const sizeOf = (metadata: unknown): { width?: number; height?: number } => {
  const { width, height } = (metadata ?? {}) as Record<string, unknown>;
  return {
    ...(typeof width === "number" && { width }),
    ...(typeof height === "number" && { height }),
  };
};
