// What the run returned: a value, a growing list, or something too large to send.

import { html, nothing, type TemplateResult } from "lit/html.js";
import type { Config } from "./config.ts";
import { isFinal } from "./events.ts";
import { count } from "./format.ts";
import type { Run } from "./run.ts";

export function drawResult(run: Run, config: Config): TemplateResult | typeof nothing {
  const { result, chunks, state } = run;
  const name = `${config.file.name}-${(config.run ?? "").slice(0, 8)}`;
  const address = `${config.self}result/`;
  const body = () => {
    if (result?.ref)
      return html`<djsci-json .reference=${{ ref: address, size: result.size ?? 0 }} .name=${name}></djsci-json>`;
    if (result)
      return html`<djsci-json .value=${result.value ?? null} .name=${name} .href=${config.pruned ? null : address}></djsci-json>`;
    if (chunks)
      return html`<djsci-json .value=${chunks} .length=${chunks.length} .name=${name}></djsci-json>`;
    return html`<p class="quiet">It comes when the run ends.</p>`;
  };
  if (!result && !chunks && isFinal(state)) return nothing;
  return html`<section class="card dj-result" aria-label="Result">
    <h2>Result${chunks && !result ? html` <span class="quiet">${count(chunks.length, "item")} so far</span>` : nothing}</h2>
    ${body()}
  </section>`;
}
