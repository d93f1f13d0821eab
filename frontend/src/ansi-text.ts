// Text of an output, which may hold terminal codes. A stand-in until the terminal is here.

const CODES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])/g;

export function ansiText(text: string): HTMLElement {
  const made = document.createElement("pre");
  made.className = "dj-text";
  made.textContent = text.replace(CODES, "");
  return made;
}
