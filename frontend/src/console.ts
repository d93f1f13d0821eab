// <djsci-run-console>: one run on the page, live, resumed, late or ended; drawn once a frame at most.

import { html, nothing, type TemplateResult } from "lit/html.js";
import { ansiText } from "./ansi-text.ts";
import { Cancel } from "./cancel.ts";
import { type Config, readConfig } from "./config.ts";
import { Connection } from "./connection.ts";
import { drawArtifacts, drawDetails } from "./details.ts";
import { Drawn } from "./drawn.ts";
import { isFinal, type RunEvent } from "./events.ts";
import { parse } from "./exact.ts";
import type { FigureOptions } from "./figure.ts";
import { drawHead, drawRefusal, type Head } from "./header.ts";
import { LogPanel } from "./log-panel.ts";
import { NotebookView } from "./notebook.ts";
import { OutputList } from "./outputs.ts";
import { loadPage, runAddresses } from "./page.ts";
import type { Reader, Refusal, Target } from "./protocol.ts";
import { drawResult } from "./result.ts";
import { Run } from "./run.ts";
import { drawTitle, Voice } from "./voice.ts";
import { truncatedWords } from "./words.ts";
import { browser, serverClock } from "./world.ts";

export class RunConsole extends Drawn implements Reader {
  config: Config | null = null;
  start: (() => string) | null = null; // the frame that starts the run, where there is none yet
  link!: Connection;
  #run!: Run;
  #panel!: LogPanel;
  #outputs!: OutputList;
  #options!: FigureOptions;
  #notebook!: NotebookView;
  #cancel!: Cancel;
  #clock!: ReturnType<typeof serverClock>;
  #tick = 0;
  #tab: "log" | "notebook" = "log";
  #isLate = false;
  #detailsOpen: boolean | null = null;
  #notice = "";
  #voice = new Voice();
  #page = new AbortController();

  connectedCallback(): void {
    if (!this.config) this.config = readConfig(this.getAttribute("config"));
    if (!this.config) return;
    for (const child of [...this.childNodes])
      if (!(child instanceof HTMLTemplateElement)) child.remove();
    if (!this.link) this.open();
    this.drawNow();
    this.#listen();
  }

  disconnectedCallback(): void {
    this.#page.abort();
    clearInterval(this.#tick);
    this.link?.suspend();
    this.#outputs?.close();
    this.#notebook?.close();
  }

  // Begins to follow, before it is on the page already.
  open(): void {
    const config = this.config as Config;
    this.className = "dj-console";
    this.#clock = serverClock(config.now);
    this.#isLate = config.run !== null && isFinal(config.state);
    const redraw = () => this.redraw();
    this.#panel = new LogPanel(redraw, config.log, !this.#isLate);
    this.#run = new Run(config, this.#panel.log);
    this.#cancel = new Cancel(config, browser.now);
    const options: FigureOptions = {
      outputs: config.outputs,
      isInteractive: config.interactive,
      ansi: ansiText,
    };
    this.#options = options;
    this.#outputs = new OutputList(options);
    this.#notebook = new NotebookView(this, config, options);
    this.link = new Connection(this.#target(), this, browser);
    this.link.head = config.head;
    if (config.pruned) this.#showPruned(config);
    else this.link.connect();
  }

  #target(): Target {
    const { call, socket, self, events, heartbeat } = this.config as Config;
    const start = this.start;
    return {
      socket,
      call: start && call ? { path: call, start } : null,
      self,
      events,
      heartbeat,
    };
  }

  #showPruned({ error, result, elapsed, state, reason, abandoned }: Config): void {
    if (error)
      this.#run.error = { type: "error", logLine: 0, ...error, traceback: error.traceback ?? [] };
    if (result !== null) this.#run.result = { type: "result", value: parse(result) };
    if (isFinal(state))
      this.#run.end = {
        type: "end",
        state,
        elapsed,
        reason: reason ?? "",
        abandoned: abandoned ?? false,
      };
    this.link.state = "ended";
  }

  #listen(): void {
    this.#page = new AbortController();
    const { signal } = this.#page;
    const retry = () => this.link.retry();
    addEventListener("online", retry, { signal });
    addEventListener("hashchange", () => this.#onHash(), { signal });
    addEventListener("pagehide", () => this.link.suspend(), { signal });
    addEventListener("pageshow", (event) => event.persisted && this.link.connect(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || retry(), { signal });
    this.#tick = window.setInterval(() => {
      if (!this.link.isOver) this.redraw();
    }, 1000);
    if (this.link.state === "idle") this.link.connect();
  }

  // ------------------------------------------------------------------ what the connection asks

  get isStarted(): boolean {
    return this.config?.run !== null;
  }

  get last(): number {
    return this.#run.last;
  }

  get isOver(): boolean {
    return this.#run.end !== null;
  }

  apply(events: readonly RunEvent[]): boolean {
    const isWhole = this.#run.apply(events);
    const newest = events.at(-1);
    if (newest && !this.#isLate && !isFinal(this.#run.state) && !this.link.isCatchingUp)
      this.#clock.heard(newest.t);
    this.#cancel.keep(this.#run);
    return isWhole;
  }

  onStarted(run: string): Target {
    const config = this.config as Config;
    Object.assign(config, runAddresses(config, run));
    this.#options.outputs = config.outputs;
    this.#panel.address = config.log;
    this.start = null;
    this.dispatchEvent(new CustomEvent("djsci-started", { detail: { run, page: config.page } }));
    loadPage(config.page).then((loaded) => {
      if (!loaded) return;
      Object.assign(config, loaded.config);
      this.append(...loaded.templates);
      this.redraw();
    });
    return this.#target();
  }

  onChange(): void {
    this.redraw();
    this.dispatchEvent(new CustomEvent("djsci-link", { detail: this.link?.state }));
  }

  onRefusedCommand({ title, detail }: Refusal): void {
    this.#tell(detail || title);
  }

  // ------------------------------------------------------------------ what the reader does

  #onCancel = async (): Promise<void> => {
    const asked = this.#cancel.ask(this.#run, this.link);
    this.redraw();
    if (!(await asked)) this.#tell("The cancel did not reach the server.");
  };

  #tell(notice: string): void {
    this.#notice = notice;
    this.#cancel.wasRefused(this.#run);
    this.redraw();
  }

  #onHash(): void {
    if (!location.hash.startsWith("#L")) return;
    if (this.#tab === "notebook") this.#choose("log");
    this.#panel.readHash();
  }

  #choose(tab: "log" | "notebook"): void {
    this.#tab = tab;
    if (tab === "log") this.#notebook.close();
    this.redraw();
  }

  #onDetails = (event: Event): void => {
    const isOpen = (event.currentTarget as HTMLDetailsElement).open;
    if (isOpen !== this.#isDetailsOpen()) this.#detailsOpen = isOpen;
  };

  // Folded while it lives: what comes above would push it down the page.
  #isDetailsOpen(): boolean {
    return this.#detailsOpen ?? this.link.state === "ended";
  }

  // ------------------------------------------------------------------ drawing

  protected draw(): TemplateResult | typeof nothing {
    const { config, link } = this;
    const run = this.#run;
    if (!config) return nothing;
    const head: Head = {
      run,
      config,
      link,
      now: this.#clock.now(),
      clock: browser.now(),
      cancel: this.#cancel.step(run, link),
      notice: this.#notice,
      onCancel: this.#onCancel,
      onRetry: () => link.retry(),
    };
    return html`${drawHead(head)}
      <p class="dj-hidden" role="status">${this.#voice.announce(run, head.clock)}</p>
      ${link.state === "refused" ? drawRefusal(head) : nothing}
      <div class="run" ?data-late=${this.#isLate}>
        <section class="card dj-main" aria-label=${this.#tab === "log" ? "Log" : "Notebook"}>
          ${this.#drawMain()}
        </section>
        <div class="dj-side stack">
          ${drawResult(run, config)} ${this.#drawOutputs()} ${drawArtifacts(run, config)}
          ${drawDetails(run, config, this.#isDetailsOpen(), this.#onDetails)}
        </div>
      </div>`;
  }

  #drawMain(): TemplateResult {
    const { config } = this;
    const run = this.#run;
    const tab = this.#tab;
    const hasCells = !!config?.cells?.length || run.cells.size > 1;
    const isLog = tab === "log";
    const button = (name: typeof tab, words: string) =>
      html`<button aria-pressed=${tab === name} @click=${() => this.#choose(name)}>${words}</button>`;
    const cut = truncatedWords(run);
    return html`<div class="dj-bar">
        ${
          hasCells
            ? html`<span class="dj-switch" role="group" aria-label="View">${button("log", "Log")}${button("notebook", "Notebook")}</span>`
            : html`<h2>Log</h2>`
        }
        ${isLog ? this.#panel.drawTools(run.end !== null) : nothing}
      </div>
      ${cut ? html`<p class="dj-cut">${cut}</p>` : nothing}
      <div ?hidden=${!isLog}>${this.#panel.element}${this.#drawEmpty()}</div>
      ${isLog ? nothing : this.#notebook.element}`;
  }

  #drawEmpty(): TemplateResult | typeof nothing {
    if (this.#panel.log.lines) return nothing;
    const isOver = isFinal(this.#run.state);
    const words = this.config?.pruned
      ? "The log of this run is past its retention and was removed."
      : isOver && this.link.state === "ended"
        ? "Nothing was printed."
        : isOver
          ? "Reading the log…"
          : "Nothing was printed yet.";
    return html`<p class="dj-empty">${words}</p>`;
  }

  #drawOutputs(): TemplateResult | typeof nothing {
    if (this.#tab !== "log" || !this.#run.outputs.length) return nothing;
    return html`<section class="card" aria-label="Outputs">
      <h2>Outputs</h2>
      ${this.#outputs.element}
    </section>`;
  }

  protected override afterDraw(): void {
    if (!this.config) return;
    if (this.#tab === "log") this.#outputs.draw(this.#run.outputs);
    else this.#notebook.draw(this.#run, this.#clock.now());
    this.#panel.reveal(this.link.state === "ended");
    if (this.closest("[data-djsci-page]")) drawTitle(this.#run, this.config.file.name);
  }
}
