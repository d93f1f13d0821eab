import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// The page that `make bench` measures, with the log's own sources; none of it is shipped.
export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  base: "",
  logLevel: "warn",
  build: {
    target: "es2022",
    outDir: "../../.bench/console",
    emptyOutDir: true,
    modulePreload: false,
    rolldownOptions: { input: fileURLToPath(new URL("log.html", import.meta.url)) },
  },
});
