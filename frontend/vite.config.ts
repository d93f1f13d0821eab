import { defineConfig } from "vitest/config";

// One script and one sheet with stable names: a Django project names them in its templates.
export default defineConfig({
  base: "",
  plugins: [
    {
      // Templates are indented for people; no browser needs that.
      name: "unindent",
      enforce: "pre",
      transform: (code, id) =>
        id.includes("/src/") && id.endsWith(".ts") ? code.replace(/\n[ \t]+/g, "\n") : null,
    },
  ],
  build: {
    target: "es2022",
    cssTarget: ["chrome123", "firefox128", "safari17.5"], // that know light-dark()
    outDir: "../djsci/static/djsci",
    emptyOutDir: true,
    cssCodeSplit: false,
    modulePreload: false,
    manifest: false,
    sourcemap: false,
    rolldownOptions: {
      input: { console: "src/main.ts" },
      output: {
        format: "es",
        entryFileNames: "[name].js",
        assetFileNames: "console[extname]",
        codeSplitting: false,
      },
    },
  },
  test: { environment: "node", include: ["tests/**/*.test.ts"] },
});
