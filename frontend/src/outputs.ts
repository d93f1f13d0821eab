// The outputs of a run, or of one of its cells, in order.

import { type FigureOptions, OutputFigure } from "./figure.ts";
import { number } from "./format.ts";
import type { Output } from "./run.ts";

const EAGER = 5;
const PAGE = 50;

export class OutputList {
  readonly element = document.createElement("div");
  #figures = new Map<number, OutputFigure>();
  #shown = PAGE;
  #more = document.createElement("button");
  #all: readonly Output[] = [];
  #sight = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries)
        for (const figure of this.#figures.values())
          if (figure.element === target) figure.seen(isIntersecting);
    },
    { rootMargin: "400px" },
  );

  constructor(private options: FigureOptions) {
    this.element.className = "dj-outputs";
    this.#more.className = "link";
    this.#more.onclick = () => {
      this.#shown += PAGE;
      this.draw(this.#all);
    };
  }

  draw(outputs: readonly Output[]): void {
    this.#all = outputs;
    const drawn = outputs.slice(0, this.#shown);
    const keys = new Set(drawn.map((one) => one.key));
    for (const [key, figure] of this.#figures) {
      if (keys.has(key)) continue;
      this.#sight.unobserve(figure.element);
      figure.remove();
      this.#figures.delete(key);
    }
    let before: Element | null = null;
    for (const output of drawn) {
      const figure = this.#figures.get(output.key) ?? this.#make(output);
      figure.update(output);
      const place: Element | null = before
        ? before.nextElementSibling
        : this.element.firstElementChild;
      if (place !== figure.element) this.element.insertBefore(figure.element, place);
      before = figure.element;
    }
    const left = outputs.length - drawn.length;
    this.#more.textContent = `Show ${Math.min(PAGE, left)} more of ${number(outputs.length)}`;
    if (left) this.element.append(this.#more);
    else this.#more.remove();
  }

  #make(output: Output): OutputFigure {
    const figure = new OutputFigure(output, this.options, this.#figures.size < EAGER);
    this.#figures.set(output.key, figure);
    this.#sight.observe(figure.element);
    return figure;
  }

  close(): void {
    this.#sight.disconnect();
    for (const figure of this.#figures.values()) figure.remove();
    this.#figures.clear();
  }
}
