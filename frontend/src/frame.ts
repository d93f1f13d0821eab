// One rich output in its sandboxed frame. A message counts only from a frame of ours, as numbers.

const LOWEST = 24;
const HIGHEST = 600;
const HIGHEST_EXPANDED = 20_000;
const PATIENCE = 4_000; // milliseconds until a frame that reports no height is shown all the same

export interface FrameReport {
  height: number;
  blocked: number;
}

const listening = new Map<HTMLIFrameElement, (report: FrameReport) => void>();

function hear({ source, data }: MessageEvent): void {
  const { height, blocked } = (data ?? {}) as Partial<FrameReport>;
  if (!Number.isFinite(height) || !Number.isFinite(blocked) || !source) return;
  for (const [frame, tell] of listening)
    if (frame.contentWindow === source)
      tell({ height: Number(height), blocked: Math.max(0, Number(blocked)) });
}

export class OutputFrame {
  readonly element = document.createElement("iframe");
  height = 0; // as the frame tells it
  #isReady = false;
  #most = HIGHEST;
  #timer: number;

  constructor(
    address: string,
    title: string,
    private on: { ready(): void; report(report: FrameReport): void },
  ) {
    if (!listening.size) addEventListener("message", hear);
    const { element } = this;
    element.setAttribute("sandbox", "allow-scripts");
    element.referrerPolicy = "no-referrer";
    element.title = title;
    element.src = address;
    listening.set(element, (report) => this.#hear(report));
    this.#timer = window.setTimeout(() => this.#ready(), PATIENCE);
  }

  set isExpanded(on: boolean) {
    this.#most = on ? HIGHEST_EXPANDED : HIGHEST;
    this.#fit();
  }

  get isCut(): boolean {
    return this.height > HIGHEST;
  }

  guess(rows: number): void {
    if (!this.height)
      this.element.height = String(Math.min(HIGHEST, LOWEST * (Math.min(rows, 99) + 1)));
  }

  close(): void {
    clearTimeout(this.#timer);
    listening.delete(this.element);
    if (!listening.size) removeEventListener("message", hear);
    this.element.remove();
  }

  #hear(report: FrameReport): void {
    this.height = report.height;
    this.#fit();
    this.#ready();
    this.on.report(report);
  }

  #ready(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    clearTimeout(this.#timer);
    this.on.ready();
  }

  #fit(): void {
    if (this.height)
      this.element.height = String(Math.min(this.#most, Math.max(LOWEST, Math.ceil(this.height))));
  }
}

// At most so many frames live; those longest out of sight sleep first.
const MOST_LIVE = 20;
export interface Sleeper {
  readonly isInSight: boolean;
  sleep(): void;
}
const awake = new Set<Sleeper>();

export function keepAwake(one: Sleeper): void {
  awake.delete(one);
  awake.add(one);
  for (const other of awake) {
    if (awake.size <= MOST_LIVE) return;
    if (other === one || other.isInSight) continue;
    awake.delete(other);
    other.sleep();
  }
}

export const forgetAwake = (one: Sleeper): boolean => awake.delete(one);
