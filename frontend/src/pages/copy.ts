// Copy buttons: <button data-djsci-copy="ID" hidden> copies the text of the element ID.

function offer(button: HTMLElement): void {
  const source = document.getElementById(button.dataset.djsciCopy ?? "");
  if (!source) return;
  button.hidden = false;
  const said = button.firstChild;
  const word = said?.nodeValue ?? "";
  button.addEventListener("click", async () => {
    const done = await copied(source);
    if (!said) return;
    said.nodeValue = done ? "Copied" : "Selected: press Ctrl-C";
    setTimeout(() => {
      said.nodeValue = word;
    }, 2000);
  });
}

// Plain http has no clipboard: then the text is selected for the reader.
async function copied(source: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText((source.textContent ?? "").trim());
    return true;
  } catch {
    getSelection()?.selectAllChildren(source);
    return false;
  }
}

if (typeof document !== "undefined") {
  for (const button of document.querySelectorAll<HTMLElement>("[data-djsci-copy]")) offer(button);
}
