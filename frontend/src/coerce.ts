// A form's fields as the JSON text of parameters: exact, whatever JavaScript makes of numbers.

export interface Schema {
  type?: string;
  anyOf?: Schema[];
  enum?: unknown[];
  items?: Schema;
  properties?: Record<string, Schema>;
}

// What only the server reads rightly: the form is sent there as it is.
export class Unsure extends Error {}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const WHOLE = "parameters"; // the one field where nothing is known of the parameters

const branchesOf = (schema: Schema): Schema[] =>
  (schema.anyOf ?? [schema]).filter((one) => one.type !== "null");

export function parametersText(form: HTMLElement, schema: Schema): string {
  if (!schema.properties || !Object.keys(schema.properties).length) return whole(form);
  return `{${members(form, schema).join(",")}}`;
}

function whole(form: HTMLElement): string {
  const [field] = fieldsIn(form);
  if (!field) return "{}";
  if (field.dataset.name !== WHOLE) throw new Unsure();
  const text = textIn(field).trim();
  return text ? json(text) : "{}";
}

// Fields of this level: not those in a fieldset of another one.
function fieldsIn(parent: HTMLElement): HTMLElement[] {
  return [...parent.querySelectorAll<HTMLElement>("[data-kind]")].filter(
    (one) => (one.parentElement?.closest("[data-kind=group]") ?? null) === groupOf(parent),
  );
}

const groupOf = (element: HTMLElement) => element.closest("[data-kind=group]");

function members(parent: HTMLElement, schema: Schema): string[] {
  const found: string[] = [];
  for (const field of fieldsIn(parent)) {
    const name = field.dataset.name ?? "";
    const wanted = schema.properties?.[name];
    if (!wanted) throw new Unsure();
    const text = textOfField(field, wanted);
    if (text !== null) found.push(`${JSON.stringify(name)}:${text}`);
  }
  return found;
}

function textOfField(field: HTMLElement, wanted: Schema): string | null {
  const [first = {}, ...others] = branchesOf(wanted);
  const isRequired = "required" in field.dataset;
  const { kind } = field.dataset;
  if (kind === "group") {
    const inner = members(field, first);
    return inner.length || isRequired ? `{${inner.join(",")}}` : null;
  }
  const boxes = [...field.querySelectorAll<HTMLInputElement>("input[type=checkbox]")];
  if (kind === "checkbox") return String(boxes[0]?.checked ?? false);
  if (kind === "choices") {
    const chosen = boxes
      .filter((box) => box.checked)
      .map((box) => option(first.items ?? {}, box.value));
    if (!chosen.length) throw new Unsure();
    return `[${chosen.join(",")}]`;
  }
  const text = textIn(field);
  if (!text.trim() && !(isRequired && kind === "text")) return null;
  if (kind === "any") return isJson(text) ? text.trim() : JSON.stringify(text);
  if (others.length) throw new Unsure();
  switch (kind) {
    case "select":
      return option(first, text);
    case "number":
      return scalar("number", text);
    case "lines":
      return text.trimStart().startsWith("[") ? json(text) : lines(first.items ?? {}, text);
    case "json":
      return json(text);
    case "text":
    case "date":
      if (first.type !== "string") throw new Unsure();
      return JSON.stringify(text);
    default:
      throw new Unsure();
  }
}

const textIn = (field: HTMLElement): string =>
  field.querySelector<HTMLInputElement>("input,select,textarea")?.value ?? "";

function option(schema: Schema, text: string): string {
  if (!schema.enum && schema.type === "boolean") return text;
  const asText = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  const found = schema.enum?.filter((value) => asText(value) === text) ?? [];
  if (found.length !== 1) throw new Unsure();
  return JSON.stringify(found[0]);
}

function lines(items: Schema, text: string): string {
  const kept = text.split(/\r?\n/).filter((line) => line.trim());
  return `[${kept.map((line) => scalar(items.type ?? "", line)).join(",")}]`;
}

function scalar(type: string, text: string): string {
  if (type === "string") return JSON.stringify(text);
  if ((type === "integer" || type === "number") && NUMBER.test(text.trim())) return text.trim();
  throw new Unsure();
}

function json(text: string): string {
  if (!isJson(text)) throw new Unsure();
  return text.trim();
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
