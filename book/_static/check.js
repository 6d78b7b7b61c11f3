// The page "Check a number yourself": a cell of a table (see lmhld_book/cells.py) shows its command, which can be copied.
"use strict";

const COPY = "Copy the command";

/** Write the command of the chosen cell to the clipboard; where a browser forbids that, select it. */
async function copyCommand(button, command) {
  try {
    await navigator.clipboard.writeText(command.textContent);
    button.textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(command);
    button.textContent = "Selected: copy it with Ctrl+C";
  }
  setTimeout(() => { button.textContent = COPY; }, 3000);
}

for (const box of document.querySelectorAll(".cells")) {
  const shown = box.querySelector(".chosen-cell");
  const copy = box.querySelector(".copy-command");
  shown.textContent = "Choose a cell.";
  for (const cell of box.querySelectorAll("[data-cell]")) {
    cell.addEventListener("click", () => {
      for (const other of box.querySelectorAll("[aria-pressed=true]")) other.setAttribute("aria-pressed", "false");
      cell.setAttribute("aria-pressed", "true");
      const entry = document.getElementById(cell.dataset.cell);
      shown.replaceChildren(...[...entry.childNodes].map((node) => node.cloneNode(true)));
      copy.hidden = false;
      copy.textContent = COPY;
    });
  }
  copy.addEventListener("click", () => copyCommand(copy, shown.querySelector(".command")));
}
