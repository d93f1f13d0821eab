// The console: elements that Django's pages, and any template, place by their names.

import "./style.css";
import "./pages/index.ts";
import { RunConsole } from "./console.ts";
import { HandlerForm } from "./form.ts";
import { DjsciJson } from "./json.ts";

const elements: [string, CustomElementConstructor][] = [
  ["djsci-json", DjsciJson],
  ["djsci-run-console", RunConsole],
  ["djsci-handler-form", HandlerForm],
];
for (const [name, element] of elements)
  if (!customElements.get(name)) customElements.define(name, element);
