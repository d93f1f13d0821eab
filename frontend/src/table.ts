// Flat records as a table: a list of them, or columns of one length.

import { html, nothing, type TemplateResult } from "lit/html.js";
import { Exact } from "./exact.ts";
import { count, number } from "./format.ts";

export interface Table {
  columns: string[];
  length: number;
  cell(row: number, column: string): unknown;
}

const MOST_COLUMNS = 100;
export const PAGE = 100;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Exact);
const isScalar = (value: unknown) =>
  typeof value !== "object" || value === null || value instanceof Exact;

export function tableOf(value: unknown): Table | null {
  if (Array.isArray(value)) return ofRecords(value);
  return isRecord(value) ? ofColumns(value) : null;
}

function ofRecords(rows: unknown[]): Table | null {
  const columns = new Set<string>();
  for (const row of rows) {
    if (!isRecord(row) || !Object.values(row).every(isScalar)) return null;
    for (const name of Object.keys(row)) columns.add(name);
    if (columns.size > MOST_COLUMNS) return null;
  }
  if (!columns.size) return null;
  const records = rows as Record<string, unknown>[];
  return {
    columns: [...columns],
    length: rows.length,
    cell: (row, column) => records[row]?.[column],
  };
}

function ofColumns(value: Record<string, unknown>): Table | null {
  const columns = Object.keys(value);
  const lists = Object.values(value);
  const [first] = lists;
  if (!Array.isArray(first) || first.length < 2 || columns.length > MOST_COLUMNS) return null;
  const isEven = (list: unknown) =>
    Array.isArray(list) && list.length === first.length && list.every(isScalar);
  if (!lists.every(isEven)) return null;
  const read = value as Record<string, unknown[]>;
  return { columns, length: first.length, cell: (row, column) => read[column]?.[row] };
}

const isNumber = (value: unknown) => typeof value === "number" || value instanceof Exact;
const asText = (value: unknown): string => {
  if (value === undefined || value === null) return "";
  return value instanceof Exact ? value.source : String(value);
};

export function drawTable(table: Table, shown: number, showMore: () => void): TemplateResult {
  const rows = Array.from({ length: Math.min(shown, table.length) }, (_, row) => row);
  const aligned = table.columns.map((name) => ({
    name,
    kind: rows.some((row) => isNumber(table.cell(row, name))) ? "dj-number" : "",
  }));
  return html`<div class="dj-scroll" tabindex="0" role="region" aria-label="Result as a table">
      <table class="dj-table">
        <thead>
          <tr>${aligned.map(({ name, kind }) => html`<th scope="col" class=${kind}>${name}</th>`)}</tr>
        </thead>
        <tbody>
          ${rows.map(
            (row) =>
              html`<tr>${aligned.map(({ name, kind }) => html`<td class=${kind}>${drawCell(table.cell(row, name))}</td>`)}</tr>`,
          )}
        </tbody>
      </table>
    </div>
    <p class="quiet">
      ${count(table.length, "row")}, ${count(table.columns.length, "column")}
      ${
        rows.length < table.length
          ? html`<button class="link" @click=${showMore}>
              Show ${number(Math.min(PAGE, table.length - rows.length))} more
            </button>`
          : nothing
      }
    </p>`;
}

const drawCell = (value: unknown) =>
  value === null ? html`<span class="quiet">null</span>` : asText(value).slice(0, 500);

const quoted = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

export function toCsv(table: Table): string {
  const lines = [table.columns.map(quoted).join(",")];
  for (let row = 0; row < table.length; row++)
    lines.push(table.columns.map((name) => quoted(asText(table.cell(row, name)))).join(","));
  return `${lines.join("\r\n")}\r\n`;
}
