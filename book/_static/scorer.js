// How the search orders what it finds (Sphinx: html_search_scorer): chapters first, then pages, functions last.
"use strict";

var Scorer = {
  score: ([page, , , , score]) => score + (page.startsWith("chapters/") ? 100 : page.startsWith("api/") ? -100 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
