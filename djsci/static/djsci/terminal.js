// Text with ANSI colours, \r and \b as lines of the page; only ever as text nodes.

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const styles = [""]; // class names; a line's style string holds indexes into it
const MOST_COLUMNS = 10000;
const BLOCK = 250;
const TOKEN = /[^\x1b\n\r\b\t\x07]+|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\n\r\b\t\x07]|\x1b/g;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]{0,4096}\x1b?|[ -/]*)?$/;
// What would be invisible, or turn the reading around, is drawn as its code.
const HIDDEN = /[\0-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const shown = (c) => `<${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}>`;

export class Terminal {
  constructor(scroller, onDraw = () => {}) {
    this.onDraw = onDraw;
    this.scroller = scroller;
    this.blocks = [];
    this.count = 0;
    this.streams = {};
    this.dirty = new Set();
    this.isFollowing = true;
    scroller?.addEventListener("scroll", () => {
      this.isFollowing = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 30;
    });
  }

  write(name, text, base = "") {
    const s = (this.streams[name] ??= { rows: [], at: 0, column: 0, pen: {}, style: 0, rest: "" });
    s.base = base;
    text = s.rest + text;
    s.rest = UNFINISHED.exec(text)?.[0] ?? "";
    if (s.rest) text = text.slice(0, -s.rest.length);
    s.style = this.styleOf(s);
    for (const [token] of text.matchAll(TOKEN)) {
      if (token === "\n") { this.row(s); s.at++; s.column = 0; }
      else if (token === "\r") s.column = 0;
      else if (token === "\b") s.column = Math.max(0, s.column - 1);
      else if (token === "\t") this.put(s, " ".repeat(8 - (s.column % 8)));
      else if (token.startsWith("\x1b[")) this.control(s, token.at(-1), token.slice(2, -1));
      else if (!/^[\x07\x1b]/.test(token)) this.put(s, token.replace(HIDDEN, shown));
    }
  }

  control(s, action, argument) {
    const n = Math.min(parseInt(argument, 10) || 1, MOST_COLUMNS);
    if (action === "m") { this.pen(s.pen, argument.split(/[;:]/).map(Number)); s.style = this.styleOf(s); }
    else if (action === "A") s.at = Math.max(0, s.at - Math.min(n, 1000));
    else if (action === "B") s.at = Math.min(s.rows.length, s.at + n);
    else if (action === "C") s.column = Math.min(MOST_COLUMNS, s.column + n);
    else if (action === "D") s.column = Math.max(0, s.column - n);
    else if (action === "G") s.column = n - 1;
    else if (action === "K") {
      const line = this.row(s);
      const [from, to] = argument === "1" ? [0, s.column] : argument === "2" ? [0, Infinity] : [s.column, Infinity];
      const gap = to === Infinity ? "" : " ".repeat(Math.min(to, line.text.length));
      line.text = line.text.slice(0, from) + gap + line.text.slice(to);
      line.style = line.style.slice(0, from) + "\0".repeat(gap.length) + line.style.slice(to);
    }
  }

  pen(pen, codes) {
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i];
      if (code === 0) for (const key in pen) delete pen[key];
      else if (code <= 4 || code === 7) pen[{ 1: "b", 2: "d", 3: "i", 4: "u", 7: "r" }[code]] = true;
      else if (code >= 22 && code <= 27) for (const key of { 22: "bd", 23: "i", 24: "u", 27: "r" }[code] ?? "") delete pen[key];
      else if (code === 38 || code === 48) {
        if (codes[i + 1] === 5 && codes[i + 2] < 16) pen[code === 38 ? "f" : "g"] = codes[i + 2];
        i += codes[i + 1] === 5 ? 2 : 4; // of the other colours there are too many to be legible
      } else if (code >= 30 && code <= 39) { if (code === 39) delete pen.f; else pen.f = code - 30; }
      else if (code >= 40 && code <= 49) { if (code === 49) delete pen.g; else pen.g = code - 40; }
      else if (code >= 90 && code <= 97) pen.f = code - 82;
      else if (code >= 100 && code <= 107) pen.g = code - 92;
    }
  }

  styleOf({ pen, base }) {
    const name = [base, ...Object.entries(pen).map(([k, v]) => (v === true ? k : k + v))].filter(Boolean).join(" ");
    const known = styles.indexOf(name);
    return known >= 0 ? known : styles.push(name) - 1;
  }

  put(s, text) {
    const line = this.row(s);
    text = text.slice(0, Math.max(0, MOST_COLUMNS - s.column));
    if (s.column > line.text.length) {
      line.style += "\0".repeat(s.column - line.text.length);
      line.text = line.text.padEnd(s.column);
    }
    const end = s.column + text.length;
    line.text = line.text.slice(0, s.column) + text + line.text.slice(end);
    line.style = line.style.slice(0, s.column) + String.fromCharCode(s.style).repeat(text.length) + line.style.slice(end);
    s.column = end;
  }

  row(s) { // the stream's present line: its own even while others print below it
    const line = (s.rows[s.at] ??= this.newLine());
    this.touch(line.block);
    return line;
  }

  newLine() {
    let block = this.blocks.at(-1);
    if (!block || block.lines.length >= BLOCK) {
      block = { lines: [], element: element("pre") };
      this.blocks.push(block);
      this.scroller?.append(block.element);
    }
    this.count++;
    const line = { text: "", style: "", block };
    block.lines.push(line);
    return line;
  }

  note(className, text) {
    const line = this.newLine();
    line.text = text;
    line.style = String.fromCharCode(this.styleOf({ pen: {}, base: className })).repeat(text.length);
    this.touch(line.block);
  }

  touch(block) {
    this.dirty.add(block);
    if (this.isWaiting) return;
    this.isWaiting = true;
    setTimeout(() => this.draw(), 40); // a hidden tab has no animation frames
  }

  draw() {
    this.isWaiting = false;
    for (const block of this.dirty) {
      block.element.style.containIntrinsicSize = `auto ${block.lines.length * 20}px`;
      block.element.replaceChildren(...drawn(block.lines));
    }
    this.dirty.clear();
    if (this.isFollowing && this.scroller) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.onDraw(this.count);
  }
}

function drawn(lines) {
  const nodes = [];
  let text = "", style = 0;
  const flush = () => {
    if (text) nodes.push(style ? element("span", styles[style], text) : document.createTextNode(text));
    text = "";
  };
  for (const line of lines) {
    for (let from = 0; from < line.text.length; ) {
      const code = line.style.charCodeAt(from);
      let to = from + 1;
      while (to < line.text.length && line.style.charCodeAt(to) === code) to++;
      if (code !== style) { flush(); style = code; }
      text += line.text.slice(from, to);
      from = to;
    }
    text += "\n";
  }
  flush();
  return nodes;
}

export function ansi(text) { // text that came whole, such as a traceback
  const terminal = new Terminal(null);
  terminal.touch = () => {};
  terminal.write("all", text);
  const pre = element("pre");
  pre.append(...terminal.blocks.flatMap((block) => drawn(block.lines)));
  return pre;
}
