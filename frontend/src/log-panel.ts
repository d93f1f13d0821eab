// The log with its toolbar: filter, wrap, times, follow, link, copy, download.

import { html, nothing, type TemplateResult } from "lit/html.js";
import { copyText, copyWith } from "./copy.ts";
import { count } from "./format.ts";
import { Log } from "./log.ts";

type StreamChoice = "all" | "stdout" | "stderr";
const NARROW = "(max-width: 600px)";
const HASH = /^#L(\d{1,9})(?:-L?(\d{1,9}))?$/;

export class LogPanel {
  readonly element = document.createElement("div");
  readonly log: Log;
  #text = "";
  #stream: StreamChoice = "all";
  #wraps = matchMedia(NARROW).matches;
  #hasTimes = false;
  #follows = true;
  #wanted: [number, number] | null = null;

  constructor(
    private redraw: () => void,
    public address: string, // of the whole log as text
    follows: boolean,
  ) {
    this.element.className = "dj-log-panel";
    this.log = new Log({
      container: this.element,
      href: address,
      onLink: (first, last) => this.#mark(first, last),
      onCount: () => redraw(),
    });
    this.log.onFollowChange = (on) => {
      this.#follows = on;
      redraw();
    };
    this.#follows = follows;
    this.log.follow = follows;
    this.log.wrap = this.#wraps;
    this.readHash();
  }

  // `#L120-L140`: shown as soon as the log has these lines.
  readHash(): void {
    const found = HASH.exec(location.hash);
    if (!found) return;
    const first = Number(found[1]);
    this.#wanted = [first, Math.max(first, Number(found[2] ?? first))];
    this.reveal(false);
  }

  reveal(isAll: boolean): void {
    if (!this.#wanted || (this.log.lines < this.#wanted[1] && !isAll)) return;
    const [first, last] = this.#wanted;
    this.#wanted = null;
    if (first > this.log.lines) return;
    this.log.follow = false;
    this.#follows = false;
    this.log.reveal(first, Math.min(last, this.log.lines));
    this.redraw();
  }

  #mark(first: number, last: number): void {
    const hash = first === last ? `#L${first}` : `#L${first}-L${last}`;
    history.replaceState(history.state, "", hash);
    this.#wanted = [first, last];
    this.reveal(true);
  }

  #onLink = (event: Event): void => {
    const selected = this.log.selectedLines();
    if (selected) this.#mark(...selected);
    copyWith(event, location.href);
  };

  #onCopy = async (event: Event): Promise<void> => {
    const button = event.currentTarget as HTMLElement;
    const answer = await fetch(`${this.address}?ansi=strip`).catch(() => null);
    const isCopied = answer?.ok && (await copyText(await answer.text()));
    button.textContent = isCopied ? "Copied" : "Not copied";
    setTimeout(() => {
      button.textContent = "Copy";
    }, 1500);
  };

  #filter(): void {
    this.log.filter = { text: this.#text, stream: this.#stream };
    this.redraw();
  }

  #toggle(name: string, isOn: boolean, change: (on: boolean) => void, title: string) {
    const flip = () => {
      change(!isOn);
      this.redraw();
    };
    return html`<button class="dj-tool" aria-pressed=${isOn} title=${title} @click=${flip}>${name}</button>`;
  }

  drawTools(isOver: boolean): TemplateResult {
    const { log } = this;
    const onText = (event: Event) => {
      this.#text = (event.target as HTMLInputElement).value;
      this.#filter();
    };
    const onStream = (event: Event) => {
      this.#stream = (event.target as HTMLSelectElement).value as StreamChoice;
      this.#filter();
    };
    return html`<div class="dj-toolbar" role="group" aria-label="Log">
      <span class="quiet dj-count">${log.lines ? count(log.lines, "line") : nothing}</span>
      <input class="dj-find" type="search" placeholder="Filter" aria-label="Filter lines" autocomplete="off" spellcheck="false" .value=${this.#text} @input=${onText} />
      <select class="dj-pick" aria-label="Streams" @change=${onStream}>
        <option value="all">all</option>
        <option value="stdout">stdout</option>
        <option value="stderr">stderr</option>
      </select>
      ${this.#toggle(
        "Wrap",
        this.#wraps,
        (on) => {
          this.#wraps = log.wrap = on;
        },
        "Break long lines",
      )}
      ${this.#toggle(
        "Times",
        this.#hasTimes,
        (on) => {
          this.#hasTimes = log.timestamps = on;
        },
        "Show when each line came",
      )}
      ${
        isOver
          ? nothing
          : this.#toggle(
              "Follow",
              this.#follows,
              (on) => {
                this.#follows = log.follow = on;
              },
              "Stay at the newest line",
            )
      }
      <button class="dj-tool" title="Copy a link to the selected lines" @click=${this.#onLink}>Link</button>
      <button class="dj-tool" title="Copy the whole log" @click=${this.#onCopy}>Copy</button>
      <a class="dj-tool" href="${this.address}?ansi=strip" download title="Download the whole log">Download</a>
    </div>`;
  }
}
