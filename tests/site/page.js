// show_all: brings every picture into view once, and waits for it
async () => {
  for (const image of document.images) {
    image.scrollIntoView();
    if (!image.complete) await new Promise((done) => { image.onload = image.onerror = done; });
  }
  window.scrollTo(0, 0);
}

// pictures: what the article shows
() => [...document.querySelectorAll('article img')].map((image) => (
  {src: image.src, width: image.naturalWidth, shown: image.clientWidth, alt: image.alt}))

// wide: what reaches over the right edge
() => [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth)
  .slice(0, 3).map((e) => e.outerHTML.slice(0, 200))

// watch: notes every effect that a control has
() => {
  window.effects = [];
  const ours = (node) => !(node.nodeType === 1 && node.matches('.tooltip, .tooltip *, [aria-describedby^=tooltip]'));
  new MutationObserver((changes) => {
    for (const change of changes) {
      const passing = change.attributeName === 'aria-describedby' || change.attributeName === 'data-bs-original-title';
      const nodes = [...change.addedNodes, ...change.removedNodes];
      if (!passing && (nodes.length ? nodes.some(ours) : ours(change.target))) window.effects.push(change.type);
    }
  }).observe(document, {subtree: true, attributes: true, childList: true, characterData: true});
  window.print = () => window.effects.push('print');
  for (const dialog of document.querySelectorAll('dialog'))
    dialog.addEventListener('close', () => effects.push('close'));
}

// kinds: marks one control of each kind, and names the kinds
(selector) => {
  const dialog = [...document.querySelectorAll('dialog[open]')].pop();
  const kinds = {};
  for (const each of (dialog || document).querySelectorAll(selector)) {
    if (!each.checkVisibility({visibilityProperty: true}) || each.disabled || each.closest('.tooltip')) continue;
    const words = each.dataset.do || each.dataset.mode || each.id || '';
    const name = [each.tagName, each.className.replace(/ (show|active)\b/g, ''), words].join(' ').trim();
    kinds[name] ||= each;
  }
  Object.entries(kinds).forEach(([name, each]) => each.setAttribute('data-kind', name));
  return Object.keys(kinds);
}
