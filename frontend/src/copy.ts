// Into the clipboard, or into a file.

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // plain http to another host has no clipboard
  }
}

function copyBySelection(text: string): boolean {
  const before = document.activeElement as HTMLElement | null;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "dj-hidden";
  document.body.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  before?.focus();
  return isDone;
}

export function download(name: string, text: string, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// The button says for a moment that it is done.
export async function copyWith(event: Event, text: string): Promise<void> {
  const button = event.currentTarget as HTMLElement;
  const said = button.dataset.says ?? button.textContent ?? "";
  button.dataset.says = said;
  button.textContent = (await copyText(text)) ? "Copied" : "Not copied";
  setTimeout(() => {
    button.textContent = said;
  }, 1500);
}
