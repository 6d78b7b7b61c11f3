// A figure that is clicked opens inside the page and can be enlarged: buttons, + and −, wheel, double click, two fingers;
// it is moved by dragging or the arrow keys. Without this script its link leads to the picture.
"use strict";

const LARGEST = 8; // times the size that fits

function lightbox() {
  const dialog = document.createElement("dialog");
  dialog.className = "lightbox";
  dialog.setAttribute("aria-label", "Figure");
  dialog.innerHTML = `<div class="lightbox-bar">
      <button type="button" data-do="out" aria-label="Smaller">−</button>
      <button type="button" data-do="in" aria-label="Larger">+</button>
      <button type="button" data-do="fit">Fit</button>
      <a download target="_blank">Download</a>
      <button type="button" data-do="close">Close</button>
    </div><div class="lightbox-view"><img alt=""></div>`;
  document.body.append(dialog);
  const view = dialog.querySelector(".lightbox-view");
  const image = view.querySelector("img");
  const fingers = new Map();
  let scale = 1, x = 0, y = 0, apart = 0;

  /** Draw; what is larger than the view can be moved as far as its edges, what is smaller not at all. */
  const draw = () => {
    const room = (side, space) => Math.max(0, (side * scale - space) / 2);
    const [across, down] = [room(image.offsetWidth, view.clientWidth), room(image.offsetHeight, view.clientHeight)];
    x = Math.min(across, Math.max(-across, x));
    y = Math.min(down, Math.max(-down, y));
    image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  };
  /** Enlarge by a factor around a place of the window, or the middle. */
  const zoom = (factor, place) => {
    const before = scale;
    scale = Math.min(LARGEST, Math.max(1, scale * factor));
    const box = view.getBoundingClientRect();
    const [dx, dy] = place ? [place.clientX - box.x - box.width / 2, place.clientY - box.y - box.height / 2] : [0, 0];
    x = dx - ((dx - x) * scale) / before;
    y = dy - ((dy - y) * scale) / before;
    draw();
  };
  const move = (dx, dy) => { x += dx; y += dy; draw(); };
  const actions = { in: () => zoom(1.5), out: () => zoom(1 / 1.5), fit: () => zoom(0), close: () => dialog.close() };

  dialog.addEventListener("click", (event) => actions[event.target.dataset.do]?.());
  dialog.addEventListener("keydown", (event) => {
    const keys = { "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.fit };
    keys.ArrowLeft = () => move(60, 0);
    keys.ArrowRight = () => move(-60, 0);
    keys.ArrowUp = () => move(0, 60);
    keys.ArrowDown = () => move(0, -60);
    if (event.ctrlKey || event.metaKey || !keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event);
  }, { passive: false });
  view.addEventListener("dblclick", (event) => (scale > 1 ? actions.fit() : zoom(3, event)));
  view.addEventListener("pointerdown", (event) => {
    view.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    apart = 0;
  });
  view.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    fingers.set(event.pointerId, event);
    move((event.clientX - before.clientX) / fingers.size, (event.clientY - before.clientY) / fingers.size);
    if (fingers.size < 2) return;
    const [one, other] = [...fingers.values()];
    const distance = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    const middle = { clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2 };
    if (apart) zoom(distance / apart, middle);
    apart = distance;
  });
  for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, (event) => fingers.delete(event.pointerId));

  return (link) => {
    const shown = link.querySelector("img");
    [image.src, image.alt] = [link.href, shown.alt];
    dialog.querySelector("a").href = link.href;
    dialog.showModal();
    actions.fit();
  };
}

const figures = document.querySelectorAll("a.full-size");
if (figures.length) {
  const open = lightbox();
  for (const link of figures) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // into a tab of its own, as any link
      event.preventDefault();
      open(link);
    });
  }
}
