// Between the page's text and the log's rows: a row's range, and the row of a point in the text.

import type { Blocks } from "./blocks";

/** From the start of one row to the end of another; both are drawn. */
export function rangeOf(blocks: Blocks, first: number, last: number): Range | undefined {
  const from = point(blocks, first, false);
  const to = point(blocks, last, true);
  if (!from || !to) return undefined;
  const range = document.createRange();
  range.setStart(...from);
  range.setEnd(...to);
  return range;
}

function point(blocks: Blocks, row: number, isEnd: boolean): [Text, number] | undefined {
  const found = blocks.find(row);
  if (!found) return undefined;
  let ends = isEnd ? found[1] + 1 : found[1];
  const walker = document.createTreeWalker(found[0], NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode() as Text | null; node; node = walker.nextNode() as Text | null) {
    if (!ends) return [node, 0];
    for (let at = node.data.indexOf("\n"); at >= 0; at = node.data.indexOf("\n", at + 1)) {
      if (--ends) continue;
      if (isEnd) return [node, at];
      if (at + 1 < node.length) return [node, at + 1];
    }
  }
  return undefined;
}

/** The row of a point in a block's text, and whether the point is at the row's very start. */
export function rowAt(blocks: Blocks, node: Node, offset: number): [number, boolean] | undefined {
  const near = node instanceof Element ? node : node.parentElement;
  const block = near?.closest<HTMLElement>(".dj-lines > pre");
  if (!block || !blocks.root.contains(block)) return undefined;
  const range = document.createRange();
  range.setStart(block, 0);
  range.setEnd(node, offset);
  const text = range.toString();
  let row = blocks.start(block);
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) row++;
  return [row, text === "" || text.endsWith("\n")];
}
