// JSON whose numbers stay what they were written as: 9007199254740993 is no JavaScript number.

type Context = { source?: string } | undefined;
declare global {
  interface JSON {
    rawJSON?(text: string): unknown;
  }
}

// A number that JavaScript would write otherwise than its sender did.
export class Exact {
  constructor(readonly source: string) {}
  toJSON(): unknown {
    return JSON.rawJSON?.(this.source) ?? Number(this.source);
  }
}

const keep = (_key: string, value: unknown, context?: Context): unknown =>
  typeof value === "number" && context?.source && context.source !== String(value)
    ? new Exact(context.source)
    : value;

export const parse = (text: string): unknown => JSON.parse(text, keep);

export const stringify = (value: unknown, indent = 2): string =>
  JSON.stringify(value, null, indent) ?? "null";

const HOLDS_VALUES = /"type":"(?:result|chunk|log)"|"application\/[\w.+-]*json"/;

// A frame or page of events. Only values keep their exact numbers: looking at each is slow.
export function parseFrame(text: string): Record<string, unknown> {
  if (!HOLDS_VALUES.test(text)) return JSON.parse(text);
  const frame = parse(text) as Record<string, unknown>;
  plainNumbers(frame);
  for (const event of (frame.events as Record<string, unknown>[] | undefined) ?? [])
    plainNumbers(event);
  return frame;
}

function plainNumbers(record: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(record))
    if (value instanceof Exact && (key !== "value" || record.type === "progress"))
      record[key] = Number(value.source);
}
