// Below each page found: where the words stand in it. Sphinx would fetch the page, which browsers forbid to files; so the
// text of all pages lies in excerpts.js (see lmhld_book/finish.py), which the search page alone loads.
"use strict";

const LENGTH = 220; // letters of an excerpt

/** The part of a text around the first of some words; its beginning where none stands in it. */
function excerptOf(text, words) {
  const found = words.map((word) => text.toLowerCase().indexOf(word)).filter((place) => place >= 0);
  const start = Math.max(0, Math.min(...(found.length ? found : [0])) - 60);
  const from = start ? text.indexOf(" ", start) + 1 : 0;
  const to = text.length > from + LENGTH ? text.lastIndexOf(" ", from + LENGTH) : text.length;
  return (from ? "… " : "") + text.slice(from, to) + (to < text.length ? " …" : "");
}

/** A paragraph with an excerpt, the words in it marked. */
function paragraphOf(excerpt, words) {
  const paragraph = document.createElement("p");
  paragraph.className = "excerpt";
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  excerpt.split(new RegExp(`(${escaped.join("|")})`, "gi")).forEach((piece, index) => {
    const node = index % 2 ? document.createElement("mark") : document.createTextNode("");
    node.textContent = piece;
    paragraph.append(node);
  });
  return paragraph;
}

const results = document.getElementById("search-results");
if (results && typeof EXCERPTS === "object") {
  const query = new URLSearchParams(location.search).get("q") || "";
  const words = query.toLowerCase().split(/\s+/).filter((word) => word.length > 1);
  const add = (item) => {
    const [page, section] = item.querySelector("a").getAttribute("href").split("#");
    const sections = EXCERPTS[page.replace(/\.html$/, "")] || {};
    const text = sections[section] || Object.values(sections).join(" "); // a term is no section
    if (text && words.length) item.append(paragraphOf(excerptOf(text, words), words));
  };
  new MutationObserver((changes) => {
    for (const change of changes)
      for (const node of change.addedNodes) if (node.tagName === "LI") add(node);
  }).observe(results, { childList: true, subtree: true });
}
