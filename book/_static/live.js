// The live map stands in a frame: it is told when the page turns light or dark.
(() => {
  const frame = document.querySelector("iframe.live-map"), root = document.documentElement;
  if (!frame) return;
  const tell = () => frame.contentWindow.postMessage(root.dataset.theme, "*");
  new MutationObserver(tell).observe(root, {attributeFilter: ["data-theme"]});
  frame.addEventListener("load", tell);
  tell();
})();
