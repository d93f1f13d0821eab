// The addresses of a run that has just begun, and what its own page tells of it.

import type { Config } from "./config.ts";

// The form's config has `{run}` where the id will be.
export function runAddresses(template: Config, run: string): Partial<Config> {
  const put = ([name, value]: [string, unknown]) => [
    name,
    typeof value === "string" ? value.replaceAll("{run}", run) : value,
  ];
  return { ...Object.fromEntries(Object.entries(template).map(put)), run };
}

export interface LoadedPage {
  config: Partial<Config>;
  templates: HTMLTemplateElement[];
}

// As a document of its own, which runs nothing. (A parser of text would need a Trusted Types policy.)
export function loadPage(address: string): Promise<LoadedPage | null> {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("GET", address);
    request.responseType = "document";
    request.onerror = () => resolve(null);
    request.onload = () => resolve(request.status === 200 ? read(request.responseXML) : null);
    request.send();
  });
}

function read(page: Document | null): LoadedPage | null {
  const element = page?.querySelector("djsci-run-console");
  const text = page?.getElementById(element?.getAttribute("config") ?? "")?.textContent;
  if (!element || !text) return null;
  // The clock of this view goes on; so does what it knows of the run's state.
  const { now: _now, state: _state, started: _started, ...config } = JSON.parse(text) as Config;
  const found = element.querySelectorAll<HTMLTemplateElement>(":scope > template");
  return { config, templates: [...found].map((one) => document.importNode(one, true)) };
}
