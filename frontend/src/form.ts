// <djsci-handler-form>: Django's form, sent over a socket; the run it starts takes its place.

import { parametersText, type Schema, Unsure } from "./coerce.ts";
import { type Config, readConfig } from "./config.ts";
import { RunConsole } from "./console.ts";
import type { Refusal } from "./protocol.ts";

interface FormConfig extends Config {
  schema: Schema;
}

export class HandlerForm extends HTMLElement {
  #console: RunConsole | null = null;

  connectedCallback(): void {
    this.addEventListener("submit", this.#onSubmit);
    addEventListener("pageshow", this.#onShow);
  }

  disconnectedCallback(): void {
    this.removeEventListener("submit", this.#onSubmit);
    removeEventListener("pageshow", this.#onShow);
  }

  // Back from the run's page: the form is to be used again.
  #onShow = (event: PageTransitionEvent): void => {
    if (event.persisted) this.#busy(false);
  };

  #onSubmit = (event: Event): void => {
    const form = event.target as HTMLFormElement;
    const config = readConfig<FormConfig>(this.getAttribute("config"));
    if (!config || !this.contains(form)) return;
    if (this.#console) event.preventDefault(); // a double click is one run
    if (this.#console) return;
    if (!config.call || form.querySelector("input[type=file]")) return;
    try {
      const parameters = parametersText(form, config.schema);
      const key = form.querySelector<HTMLInputElement>("input[name=key]")?.value ?? "";
      event.preventDefault();
      this.#send(
        form,
        config,
        `{"type":"start","parameters":${parameters},"key":${JSON.stringify(key)}}`,
      );
    } catch (error) {
      if (!(error instanceof Unsure)) throw error;
    }
  };

  #send(form: HTMLFormElement, config: FormConfig, frame: string): void {
    this.#busy(true);
    this.#clear();
    const made = new RunConsole();
    this.#console = made;
    const ahead = performance.now() / 1000;
    made.config = { ...config, parameters: parametersOf(frame), self: fileOf(config) };
    made.config.created = config.now + ahead - loadedAt;
    made.config.now = made.config.created;
    made.start = () => frame;
    made.addEventListener("djsci-started", (event) => {
      this.#swap(made, (event as CustomEvent<{ page: string }>).detail.page);
    });
    made.addEventListener("djsci-link", () => {
      if (made.isStarted || this.#console !== made) return;
      const { state, refusal } = made.link ?? {};
      if (state === "refused" && refusal?.code !== "not_found") this.#refused(made, refusal);
      else if (["refused", "probing", "waiting", "offline"].includes(state ?? "")) {
        made.link.suspend();
        form.submit(); // its key is the same: should both arrive, they are one run
      }
    });
    made.open();
  }

  #swap(made: RunConsole, page: string): void {
    const stage = this.closest<HTMLElement>("[data-djsci-page]");
    if (stage) {
      history.pushState(null, "", page);
      // A link into the log goes nowhere else; the button "back" does.
      addEventListener("popstate", () => location.pathname === page || location.reload());
    }
    (stage ?? this).replaceChildren(made);
  }

  #refused(made: RunConsole, refusal: Refusal | null): void {
    made.link.suspend();
    this.#console = null;
    this.#busy(false);
    const left: string[] = [];
    for (const { field = "", message } of refusal?.errors ?? [])
      if (!this.#mark(field, message)) left.push(`${field} ${message}`.trim());
    if (!refusal?.errors.length) left.push(refusal?.detail || refusal?.title || "It was refused.");
    if (!left.length) {
      this.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
      return;
    }
    const box = document.createElement("div");
    box.className = "alert dj-refused";
    box.setAttribute("role", "alert");
    box.textContent = left.join(" · ");
    this.prepend(box);
  }

  // The field that the message is of, or the one that holds it.
  #mark(path: string, message: string): boolean {
    for (let name = path; name; name = name.replace(/(?:[.[]|^)[^.[]*$/, "")) {
      const input = [...this.querySelectorAll<HTMLInputElement>("[name]")].find(
        (one) => one.name === `p-${name}`,
      );
      const field = input?.closest(".field");
      if (!input || !field) continue;
      const rest = path.slice(name.length).replace(/^\./, "");
      field.classList.add("wrong");
      input.setAttribute("aria-invalid", "true");
      const said = field.querySelector<HTMLElement>(".error");
      if (said) {
        said.textContent = rest ? `${rest} ${message}` : message;
        said.hidden = false;
      }
      return true;
    }
    return false;
  }

  #clear(): void {
    for (const box of this.querySelectorAll(".dj-refused")) box.remove();
    for (const field of this.querySelectorAll(".field.wrong")) {
      field.classList.remove("wrong");
      for (const input of field.querySelectorAll("[aria-invalid]"))
        input.removeAttribute("aria-invalid");
      for (const said of field.querySelectorAll<HTMLElement>(".error")) said.hidden = true;
    }
  }

  #busy(isBusy: boolean): void {
    if (!isBusy) this.#console = null;
    for (const button of this.querySelectorAll<HTMLButtonElement>("form button"))
      button.ariaBusy = String(isBusy);
  }
}

const loadedAt = performance.now() / 1000;
const parametersOf = (frame: string): unknown => JSON.parse(frame).parameters;
// While there is no run, the file tells whether one may come in at all.
const fileOf = ({ call, ref }: Config): string =>
  `${(call ?? "").replace(/ws\/call\/.*$/, "")}api/v1/files/${encodeURIComponent(ref)}/`;
