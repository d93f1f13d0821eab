// The head of a run's view: what it is, how it goes, and what one can do about it.

import { html, nothing, type TemplateResult } from "lit/html.js";
import { ansiText } from "./ansi-text.ts";
import type { CancelStep } from "./cancel.ts";
import type { Config } from "./config.ts";
import type { Connection } from "./connection.ts";
import { isFinal } from "./events.ts";
import { number } from "./format.ts";
import type { Failure, Run } from "./run.ts";
import { linkWord, placeOf, quietWords, refusalWords, sentence, stateWord } from "./words.ts";

export interface Head {
  run: Run;
  config: Config;
  link: Connection;
  now: number; // of the server, Unix seconds
  clock: number; // of the connection, milliseconds
  cancel: CancelStep;
  notice: string;
  onCancel(): void;
  onRetry(): void;
}

export function drawHead(head: Head): TemplateResult {
  const { run, config, link, now, clock } = head;
  // That a cancel interrupts the handler is no failure to tell.
  const isCancel = run.state.startsWith("cancel") && run.error?.ename === "KeyboardInterrupt";
  const error = isCancel ? null : run.error;
  // While the log of an ended run is fetched there is nothing to say, unless it cannot be.
  const isTold = !isFinal(run.state) || ["waiting", "offline", "refused"].includes(link.state);
  return html`<header class="dj-head" ?data-live=${!isFinal(run.state)}>
    <div class="dj-title">
      <h1>${config.file.url ? html`<a class="plain" href=${config.file.url}>${config.file.name}</a>` : config.file.name}</h1>
      <span class="pill" data-state=${run.state}>${stateWord(run.state)}</span>
      <p class="dj-sentence">${sentence(run, config, now)}${drawPlace(run)}</p>
      <div class="dj-acts">
        <span class="dj-link-state" data-link=${link.state}>${isTold ? linkWord(link, clock) : nothing}</span>
        ${
          link.state === "waiting" || link.state === "offline"
            ? html`<button class="link" @click=${head.onRetry}>Retry now</button>`
            : nothing
        }
        ${drawButtons(head)}
      </div>
    </div>
    <div class="dj-line">
      <div class="dj-alert" role="alert">${error ? drawError(error) : nothing}</div>
      ${error ? nothing : drawFacts(head)}
    </div>
    ${drawStrip(run)}
  </header>`;
}

function drawButtons({ cancel, config, run, onCancel }: Head) {
  if (!isFinal(run.state)) {
    if (cancel === "no") return nothing;
    const words = { ask: "Cancel", asked: "Cancelling…", force: "Force stop" };
    return html`<button
      class="button"
      ?disabled=${cancel === "asked"}
      data-kind=${cancel}
      @click=${onCancel}
    >
      ${words[cancel]}
    </button>`;
  }
  return html`${config.edit ? html`<a class="button" href=${config.edit}>Edit and run</a>` : nothing}
    ${
      config.again
        ? html`<form method="post" action=${config.again}>
            <input type="hidden" name="csrfmiddlewaretoken" value=${config.csrf} />
            <input type="hidden" name="key" value=${again(config)} />
            <button class="button primary">Run again</button>
          </form>`
        : nothing
    }`;
}

// One key a view of the page: a double click is one run.
const keys = new Map<string, string>();
function again({ run }: Config): string {
  const id = run ?? "";
  if (!keys.has(id))
    keys.set(
      id,
      `again-${Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("")}`,
    );
  return keys.get(id) ?? "";
}

function drawPlace({ cell, progress, state }: Run) {
  if (state !== "running") return nothing;
  const parts: string[] = [];
  if (cell && cell.count > 1) parts.push(`cell ${cell.index} of ${cell.count}`);
  if (progress?.label) parts.push(progress.label);
  const share = shareOf(progress);
  if (share !== null) parts.push(`${Math.round(share * 100)} %`);
  else if (progress?.n !== undefined) parts.push(number(progress.n));
  return parts.length ? html`<span class="dj-place">${parts.join(" · ")}</span>` : nothing;
}

export function shareOf(progress: Run["progress"]): number | null {
  if (!progress) return null;
  const { value, n, total } = progress;
  const share = value ?? (n !== undefined && total ? n / total : null);
  return share === null ? null : Math.min(1, Math.max(0, share));
}

function drawStrip({ progress, state }: Run) {
  if (!progress || isFinal(state)) return nothing;
  const share = shareOf(progress);
  const label = progress.label || "Progress";
  return share === null
    ? html`<progress class="dj-strip" aria-label=${label}></progress>`
    : html`<progress class="dj-strip" aria-label=${label} max="1" .value=${share}></progress>`;
}

function drawError(error: Failure): TemplateResult {
  const place = placeOf(error.cell, error.line);
  const traceback = error.traceback ?? [];
  const line = html`<strong>${error.ename}</strong>${error.evalue ? `: ${error.evalue}` : ""}
    ${place ? html`<span class="quiet">${place}</span>` : nothing}`;
  const inLog = error.logLine
    ? html`<a class="link" href="#L${error.logLine}">In the log</a>`
    : nothing;
  if (!traceback.length) return html`<p class="dj-failure">${line}</p>${inLog}`;
  return html`<details class="dj-failure">
      <summary>${line}</summary>
      <div class="dj-trace" tabindex="0" role="region" aria-label="Traceback">${coloured(error)}</div>
    </details>
    ${inLog}`;
}

const drawn = new WeakMap<Failure, HTMLElement>();
function coloured(error: Failure): HTMLElement {
  const found = drawn.get(error) ?? ansiText(error.traceback.join("\n"));
  drawn.set(error, found);
  return found;
}

function drawFacts({ run, config, link, now, clock, notice }: Head): TemplateResult {
  const quiet = quietWords(run, (clock - link.heard) / 1000, now);
  const facts = [
    config.run && `run ${config.run.slice(0, 8)}`,
    `${config.entry}, version ${config.version.slice(0, 8)}`,
    config.user && `by ${config.user}`,
    config.trigger,
  ].filter(Boolean);
  return html`<p class="dj-facts">${notice || quiet || facts.join(" · ")}</p>`;
}

export function drawRefusal({ link, config }: Head) {
  const { refusal } = link;
  if (!refusal) return nothing;
  const next = encodeURIComponent(location.pathname + location.search);
  return html`<div class="dj-refused" role="alert">
    <p>${refusalWords(refusal)}</p>
    ${
      refusal.code === "not_authenticated"
        ? html`<a class="button" href="${config.login}?next=${next}">Sign in</a>`
        : refusal.code === "gap"
          ? html`<a class="button" href=${config.log}>The whole log</a>`
          : html`<a class="button" href=${config.catalogue}>All files</a>`
    }
  </div>`;
}
