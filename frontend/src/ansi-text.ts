// A text with terminal codes outside the log: an output's, or what a cell printed.

import { Blocks } from "./blocks.ts";
import { Terminal } from "./terminal.ts";

export class AnsiText {
  readonly element = document.createElement("div");
  #terminal = new Terminal();
  #blocks: Blocks;

  constructor() {
    const terminal = this.#terminal;
    this.#blocks = new Blocks({
      get first() {
        return terminal.first;
      },
      get end() {
        return terminal.end;
      },
      at: (row) => terminal.line(row),
    });
    this.element.className = "dj-text";
    this.element.append(this.#blocks.root);
  }

  write(stream: "stdout" | "stderr", text: string, t: number): void {
    this.#terminal.write(stream, text, t);
  }

  draw(): void {
    for (const row of this.#terminal.changed) this.#blocks.touch(row);
    this.#terminal.changed.clear();
    this.#blocks.draw(Number.POSITIVE_INFINITY);
  }
}

export function ansiText(text: string): HTMLElement {
  const made = new AnsiText();
  made.write("stdout", text, 0);
  made.draw();
  return made.element;
}
