// Tables with the class "sortable" (see lmhld_book/finish.py) are sorted by a click, or Enter, on a column's header.
"use strict";

const EMPTY = new Set(["", "–", "—", "-", "nan", "none", "nat", "<na>"]);

/** What a cell is sorted by: a number where it shows one, else its text; null where it shows nothing. */
function keyOf(cell) {
  const text = cell ? cell.textContent.trim() : "";
  if (EMPTY.has(text.toLowerCase())) return null;
  const plain = text.replace(/[\s\u2009\u202f,]/g, "").replace("\u2212", "-").replace(/[%*]$/, "");
  return plain !== "" && Number.isFinite(Number(plain)) ? Number(plain) : text;
}

/** Numbers come before words, and nothing at all comes last, whichever way the rest goes. */
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return sign * a.localeCompare(b, "en", { numeric: true });
}

function sortBy(table, header, column) {
  const up = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  table.classList.add("sorted");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
  rows.sort((a, b) => compare(a[0], b[0], up ? 1 : -1));
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = table.tHead.rows[table.tHead.rows.length - 1].cells;
  if ([...headers].some((header) => header.colSpan > 1)) continue; // columns could not be counted
  [...headers].forEach((header, column) => {
    if (header.tagName !== "TH") return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header, column));
  });
}
