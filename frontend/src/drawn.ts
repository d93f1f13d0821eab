// An element that Lit draws into the page's own DOM, at most once a frame.

import { render } from "lit/html.js";

export abstract class Drawn extends HTMLElement {
  #isDue = false;
  #isDrawn = false;

  protected abstract draw(): unknown;
  protected afterDraw?(): void;

  // Hidden pages have no frames: they draw later.
  redraw(): void {
    if (this.#isDue || !this.#isDrawn) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.drawNow();
    });
  }

  // The first time at once, so that nothing flashes.
  protected drawNow(): void {
    this.#isDrawn = true;
    render(this.draw(), this, { renderBefore: null });
    this.afterDraw?.();
  }
}
