// A stand-in until the terminal's own log is here.

export interface LogOptions {
  container: HTMLElement;
  onLink?(first: number, last: number): void;
  onCount?(lines: number): void;
}

export class Log {
  lines = 0;
  filter: { text: string; stream: "all" | "stdout" | "stderr" } = { text: "", stream: "all" };
  wrap = false;
  timestamps = false;
  follow = true;
  onFollowChange?: (on: boolean) => void;
  private scroller = document.createElement("pre");

  constructor(private options: LogOptions) {
    this.scroller.className = "dj-log-lines";
    options.container.append(this.scroller);
  }
  write(_stream: "stdout" | "stderr", text: string, _t: number): void {
    this.scroller.append(text);
    this.lines += text.split("\n").length - 1;
    this.options.onCount?.(this.lines);
  }
  note(kind: string, text: string, t: number): void {
    this.write("stdout", `── ${kind === "cell" ? "" : ""}${text}\n`, t);
  }
  clearMark(): void {}
  end(): void {}
  reveal(_first: number, _last: number): void {}
  selectedLines(): [number, number] | null {
    return null;
  }
  lineOfCell(_index: number): number | null {
    return null;
  }
}
