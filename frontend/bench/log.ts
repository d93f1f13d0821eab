// The log beside the naive one: an element a line, followed to its end. Called by benchmarks/console.py.
import "../src/style.css";
import { Log } from "../src/log";

const PIECE = 500; // lines that come at once, as one event of the run would bring them
const LINE = "of a flood that somebody reads, with a number: 0123456789";
const line = (number: number): string => `line ${number} ${LINE}`;
const frame = (): Promise<number> => new Promise(requestAnimationFrame);
const task = (): Promise<void> =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => resolve();
    port2.postMessage(0);
  });

function emptied(): HTMLElement {
  const container = document.getElementById("bench");
  if (!container) throw new Error("no container");
  container.replaceChildren();
  return container;
}

function made(onLink?: (first: number, last: number) => void): Log {
  return new Log({ container: emptied(), ...(onLink && { onLink }) });
}

function piece(from: number, to: number): string {
  let text = "";
  for (let number = from; number < to; number++) text += `${line(number)}\n`;
  return text;
}

/** Milliseconds until all lines are on the page, laid out and followed. */
async function ours(lines: number): Promise<number> {
  const log = made();
  const scroller = document.querySelector(".dj-log") as HTMLElement;
  await frame();
  const begun = performance.now();
  for (let from = 0; from < lines; from += PIECE) {
    log.write("stdout", piece(from, from + PIECE), 0);
    await task();
  }
  while (!scroller.lastElementChild?.lastElementChild?.textContent?.includes(line(lines - 1))) {
    await frame();
  }
  await frame();
  const took = performance.now() - begun;
  if (scroller.textContent !== piece(0, lines)) throw new Error("lines are missing");
  log.close();
  return took;
}

/** The same with an element a line, appended as the lines come. */
async function naive(lines: number): Promise<number> {
  const scroller = document.createElement("div");
  scroller.className = "dj-log";
  emptied().append(scroller);
  await frame();
  const begun = performance.now();
  for (let from = 0; from < lines; from += PIECE) {
    for (let number = from; number < from + PIECE; number++) {
      const row = document.createElement("div");
      row.textContent = line(number);
      scroller.append(row);
    }
    scroller.scrollTop = scroller.scrollHeight;
    await task();
  }
  await frame();
  await frame();
  return performance.now() - begun;
}

/** Frames and tasks while lines flow: their milliseconds. */
async function flow(rate: number, seconds: number): Promise<Record<string, number>> {
  const log = made();
  const longest: number[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) longest.push(entry.duration);
  });
  observer.observe({ type: "longtask" });
  const frames: number[] = [];
  const begun = performance.now();
  let [sent, last] = [0, await frame()];
  const timer = setInterval(() => {
    const due = Math.min(rate * seconds, Math.floor((rate * (performance.now() - begun)) / 1000));
    if (due > sent) log.write("stdout", piece(sent, due), 0);
    sent = due;
  }, 20);
  while (sent < rate * seconds) {
    const now = await frame();
    frames.push(now - last);
    last = now;
  }
  clearInterval(timer);
  await new Promise((resolve) => setTimeout(resolve, 200));
  observer.disconnect();
  frames.sort((a, b) => a - b);
  const found = {
    p50: frames[Math.floor(frames.length / 2)] ?? 0,
    p95: frames[Math.floor(frames.length * 0.95)] ?? 0,
    longest: Math.max(0, ...longest),
    nodes: document.querySelectorAll("#bench *").length,
    lines: log.lines,
  };
  log.close();
  return found;
}

Object.assign(window, { bench: { ours, naive, flow, made, piece } });
