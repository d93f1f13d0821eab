// Which part of a MIME bundle is shown, and how.

import type { Bundle, Reference } from "./events.ts";

export type Way = "frame" | "image" | "json" | "text";

const RANKED: [RegExp, Way][] = [
  [/^text\/html$/, "frame"],
  [/^text\/markdown$/, "frame"],
  [/^(application|text)\/javascript$/, "frame"],
  [/^image\/svg\+xml$/, "image"],
  [/^image\/png$/, "image"],
  [/^image\/jpeg$/, "image"],
  [/^image\/gif$/, "image"],
  [/^image\/webp$/, "image"],
  [/^application\/json$/, "json"],
  [/^text\/latex$/, "text"],
  [/^text\/plain$/, "text"],
  [/[/+.]json$/, "json"],
];

export interface Part {
  mime: string;
  way: Way;
  value: unknown;
}

export function best(data: Bundle): Part | null {
  for (const [pattern, way] of RANKED)
    for (const [mime, value] of Object.entries(data))
      if (pattern.test(mime) && value !== null) return { mime, way, value };
  return null;
}

// Notebooks may hold text as a list of lines.
export const textOf = (part: unknown): string =>
  Array.isArray(part) ? part.join("") : typeof part === "string" ? part : "";

export const isReference = (part: unknown): part is Reference =>
  typeof part === "object" &&
  part !== null &&
  typeof (part as Reference).ref === "string" &&
  typeof (part as Reference).size === "number" &&
  (part as Reference).ref.startsWith("/");

// `data` is where the server has a part that is too large for the log.
export function imageAddress({ mime, value }: Part, data: string): string {
  if (isReference(value)) return data;
  const text = textOf(value);
  return mime === "image/svg+xml"
    ? `data:${mime};charset=utf-8,${encodeURIComponent(text)}`
    : `data:${mime};base64,${text.replace(/\s/g, "")}`;
}
