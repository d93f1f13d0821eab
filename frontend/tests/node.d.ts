// What the tests need of Node, without all of its types.
declare module "node:fs" {
  export function readFileSync(path: URL, encoding: "utf8"): string;
}
declare const process: { env: Record<string, string | undefined> };
