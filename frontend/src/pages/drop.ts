// The upload form: files may be dropped on it, and a refused upload keeps what was chosen.

const ENTRY = /\.(ipynb|py)$/i;

// Which of the files runs: the only notebook, else the only Python file, else the first of them.
export function entryOf<Named extends { name: string }>(files: Named[]): Named | undefined {
  const notebooks = files.filter((file) => /\.ipynb$/i.test(file.name));
  return notebooks[0] ?? files.find((file) => ENTRY.test(file.name));
}

interface Refusal {
  title?: string;
  detail?: string;
  errors?: { field?: string; cell?: number; line?: number; message?: string }[];
}

// One line a problem: "Cell 3, line 2: invalid syntax".
export function problems(refusal: Refusal): string[] {
  const found = (refusal.errors ?? []).map(({ field, cell, line, message }) => {
    const place = [cell && `Cell ${cell}`, line && `${cell ? "line" : "Line"} ${line}`]
      .filter(Boolean)
      .join(", ");
    return `${place || field || ""}${place || field ? ": " : ""}${message ?? ""}`;
  });
  return found.length ? found : [refusal.detail ?? ""];
}

class Drop {
  private readonly zone: HTMLElement;
  private readonly entry: HTMLInputElement;
  private readonly companions: HTMLInputElement;
  private readonly list: HTMLElement;

  constructor(private readonly form: HTMLFormElement) {
    this.zone = form.querySelector(".drop") ?? form;
    this.entry = form.querySelector("input[name=file]") as HTMLInputElement;
    this.companions = form.querySelector("input[name=files]") as HTMLInputElement;
    this.list = form.querySelector("[data-djsci-chosen]") as HTMLElement;
    for (const hint of form.querySelectorAll<HTMLElement>("[data-djsci-hint]")) hint.hidden = false;
    for (const type of ["dragenter", "dragover"]) {
      form.addEventListener(type, (event) => this.over(event as DragEvent));
    }
    form.addEventListener("dragleave", (event) => {
      if (!form.contains(event.relatedTarget as Node | null)) this.zone.classList.remove("over");
    });
    form.addEventListener("drop", (event) => this.dropped(event));
    for (const input of [this.entry, this.companions]) {
      input.addEventListener("change", () => this.draw());
    }
    if (form.dataset.djsciUpload) form.addEventListener("submit", (event) => this.send(event));
  }

  private over(event: DragEvent): void {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    this.zone.classList.add("over");
  }

  private dropped(event: DragEvent): void {
    const files = [...(event.dataTransfer?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    this.zone.classList.remove("over");
    this.choose([...this.chosen(), ...files]);
  }

  private chosen(): File[] {
    return [...(this.entry.files ?? []), ...(this.companions.files ?? [])];
  }

  // The last of a name wins: who drops a file again has mended it.
  private choose(files: File[], wanted?: File): void {
    const named = [...new Map(files.map((file) => [file.name, file])).values()];
    const entry = wanted ?? entryOf(named);
    put(this.entry, entry ? [entry] : []);
    put(
      this.companions,
      named.filter((file) => file !== entry),
    );
    this.draw();
  }

  private draw(): void {
    const files = this.chosen();
    const entry = this.entry.files?.[0];
    this.list.hidden = files.length < 2;
    this.list.replaceChildren(
      ...files.map((file) => {
        const item = document.createElement("li");
        item.append(`${file.name} · ${Math.ceil(file.size / 1024)} KiB · `);
        if (file === entry) item.append("runs");
        else if (ENTRY.test(file.name)) item.append(this.button("run this one", file));
        else item.append("companion");
        return item;
      }),
    );
  }

  private button(word: string, file: File): HTMLButtonElement {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.append(word);
    button.addEventListener("click", () => this.choose(this.chosen(), file));
    return button;
  }

  private async send(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const button = this.form.querySelector<HTMLButtonElement>("button.primary");
    const status = this.form.querySelector<HTMLElement>("[data-djsci-status]");
    if (button) button.disabled = true;
    if (status) status.textContent = "Uploading…";
    const body = new FormData(this.form);
    const token = String(body.get("csrfmiddlewaretoken") ?? "");
    if (!String(body.get("name") ?? "").trim()) body.delete("name");
    body.delete("csrfmiddlewaretoken");
    let refusal: Refusal;
    try {
      const answer = await fetch(this.form.dataset.djsciUpload ?? "", {
        method: "POST",
        body,
        headers: { "X-CSRFToken": token, Accept: "application/json" },
      });
      const told = await answer.json();
      if (answer.ok) {
        location.assign(told.links.page);
        return;
      }
      refusal = told;
    } catch {
      refusal = { title: "The upload did not arrive.", detail: "Nothing is lost: try again." };
    }
    if (button) button.disabled = false;
    if (status) status.textContent = "";
    tell(refusal);
  }
}

function put(input: HTMLInputElement, files: File[]): void {
  const transfer = new DataTransfer();
  for (const file of files) transfer.items.add(file);
  input.files = transfer.files;
}

function tell(refusal: Refusal): void {
  const place = document.querySelector("[data-djsci-problem]");
  const box = document.createElement("div");
  box.className = "alert";
  box.setAttribute("role", "alert");
  const title = document.createElement("p");
  const strong = document.createElement("strong");
  strong.append(refusal.title ?? "It was refused.");
  title.append(strong);
  const list = document.createElement("ul");
  for (const line of problems(refusal)) {
    const item = document.createElement("li");
    item.append(line);
    list.append(item);
  }
  box.append(title, list);
  place?.replaceChildren(box);
  box.scrollIntoView({ block: "nearest" });
}

if (typeof document !== "undefined") {
  for (const form of document.querySelectorAll<HTMLFormElement>("form[data-djsci-drop]")) {
    new Drop(form);
  }
}
