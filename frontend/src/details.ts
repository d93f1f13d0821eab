// What else there is to know of a run: times, version, artifacts, parameters.

import { html, nothing, type TemplateResult } from "lit/html.js";
import type { Config } from "./config.ts";
import { bytes } from "./format.ts";
import type { Run } from "./run.ts";

export function drawDetails(
  run: Run,
  config: Config,
  isOpen: boolean,
  onToggle: (event: Event) => void,
): TemplateResult {
  const ended =
    config.ended ??
    (run.end && run.started && run.end.elapsed !== null ? run.started + run.end.elapsed : null);
  return html`<details class="card dj-details" ?open=${isOpen} @toggle=${onToggle}>
    <summary><h2>Details</h2></summary>
    <dl>
      <dt>Run</dt><dd><code>${config.run}</code></dd>
      <dt>Version</dt><dd><code>${config.version.slice(0, 10)}</code> <span class="quiet">${config.entry}</span></dd>
      <dt>Started by</dt><dd>${config.user ?? "–"} <span class="quiet">${config.trigger}</span></dd>
      <dt>Asked for</dt><dd>${time(config.created)}</dd>
      ${run.started ? html`<dt>Began</dt><dd>${time(run.started)}</dd>` : nothing}
      ${ended ? html`<dt>Ended</dt><dd>${time(ended)}</dd>` : nothing}
      <dt>Engine</dt><dd>${config.engine || "–"} <span class="quiet">isolation ${config.isolation || "–"}</span></dd>
      <dt>Also</dt>
      <dd class="dj-also">
        <a href=${config.log}>Log</a> <a href=${config.events}>Events</a>
        ${config.notebook ? html`<a href=${config.notebook}>Notebook</a>` : nothing}
        <a href=${config.compare}>Compare with the run before</a>
      </dd>
    </dl>
    ${hasAny(config.parameters) ? html`<h3>Parameters</h3><djsci-json .value=${config.parameters} name="parameters"></djsci-json>` : nothing}
  </details>`;
}

const hasAny = (value: unknown) =>
  typeof value === "object" && value !== null && Object.keys(value).length > 0;

function time(seconds: number): TemplateResult {
  const at = new Date(seconds * 1000);
  const text = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return html`<time datetime=${at.toISOString()}>${text}</time>`;
}

export function drawArtifacts(run: Run, config: Config) {
  if (!run.artifacts.length) return nothing;
  return html`<section class="card" aria-label="Artifacts">
    <h2>Artifacts</h2>
    <ul class="dj-artifacts">
      ${run.artifacts.map(
        ({ name, size }) =>
          html`<li>
            ${config.artifacts ? html`<a href="${config.artifacts}${encodeURIComponent(name)}/" download>${name}</a>` : name}
            <span class="quiet">${bytes(size)}</span>
          </li>`,
      )}
    </ul>
  </section>`;
}
