"use strict";
// Rasters come as lossless grey pictures: how many of the thresholds (`levels`) a pixel's probability reaches, truth 0 or
// 1, and 255 where nothing is known. They are held with a rim of 255 around them, so that no pixel's neighbours need a
// test for the edge.
const UNKNOWN = 255;
const RAMP = [[255, 245, 235], [253, 174, 107], [230, 85, 13], [127, 0, 0]];  // of probability, from 0 to 1
const AREAS = [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 5000];  // px, of the least landslide
const NOT_SCORED = "–";

const data = JSON.parse(document.getElementById("data").textContent);
const {width, height, step, levels} = data;
const reached = (count) => (count ? levels[count - 1] : 0);  // a probability, to the level below it
const wide = width + 2;
const neighbours = [-wide - 1, -wide, -wide + 1, -1, 1, wide - 1, wide, wide + 1];
const element = (id) => document.getElementById(id);
const number = (value) => (Number.isFinite(value) ? value.toFixed(3) : NOT_SCORED);

async function raster(address) {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(picture, 0, 0);
  const read = context.getImageData(0, 0, width, height).data;
  const values = new Uint8Array(wide * (height + 2)).fill(UNKNOWN);
  for (let row = 0, k = 0; row < height; row++) {
    for (let col = 0; col < width; col++, k += 4) values[(row + 1) * wide + col + 1] = read[k];
  }
  return values;
}

// Landslides are pixels that touch at sides or corners; those of fewer than `least` pixels are left out.
function landslides(isLandslide, least) {
  const kept = new Uint8Array(isLandslide.length), seen = isLandslide.slice(), group = new Int32Array(isLandslide.length);
  let count = 0;
  for (let first = 0; first < seen.length; first++) {
    if (!seen[first]) continue;
    let size = 1;
    group[0] = first;
    seen[first] = 0;
    for (let done = 0; done < size; done++) {
      for (const offset of neighbours) {
        const next = group[done] + offset;
        if (seen[next]) { seen[next] = 0; group[size++] = next; }
      }
    }
    if (size < least) continue;
    count++;
    for (let k = 0; k < size; k++) kept[group[k]] = 1;
  }
  return {kept, count};
}

// The edges of pixels as an SVG path: runs along rows, then runs down columns.
function outline(kept) {
  const parts = [], begun = new Int32Array(width + 1).fill(-1);
  for (let row = 0; row <= height; row++) {
    let from = -1;
    for (let col = 0; col <= width; col++) {
      const k = (row + 1) * wide + col + 1;
      const flat = col < width && kept[k] !== kept[k - wide];
      if (flat && from < 0) from = col;
      if (!flat && from >= 0) { parts.push(`M${from} ${row}h${col - from}`); from = -1; }
      const upright = row < height && kept[k] !== kept[k - 1];
      if (upright && begun[col] < 0) begun[col] = row;
      if (!upright && begun[col] >= 0) { parts.push(`M${col} ${begun[col]}v${row - begun[col]}`); begun[col] = -1; }
    }
  }
  return parts.join("");
}

function score(kept, probability, truth) {
  let tp = 0, fp = 0, fn = 0;
  for (let k = 0; k < kept.length; k++) {
    if (truth[k] === UNKNOWN || probability[k] === UNKNOWN) continue;
    if (kept[k]) truth[k] ? tp++ : fp++;
    else if (truth[k]) fn++;
  }
  return {precision: tp / (tp + fp), recall: tp / (tp + fn), f1: 2 * tp / (2 * tp + fp + fn)};
}

function colour(value) {
  const place = value * (RAMP.length - 1), below = Math.min(Math.floor(place), RAMP.length - 2);
  return RAMP[below].map((part, k) => part + (place - below) * (RAMP[below + 1][k] - part));
}

function coloured(probability) {
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  const ramp = Array.from({length: levels.length + 1}, (_, count) => colour(reached(count)));
  for (let row = 0, k = 0; row < height; row++) {
    for (let col = 0; col < width; col++, k += 4) {
      const value = probability[(row + 1) * wide + col + 1];
      if (value !== UNKNOWN) pixels.data.set([...ramp[value], 255], k);
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function lines(className) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.classList.add(className);
  for (const name of ["outline halo", "outline"]) {
    svg.appendChild(document.createElementNS(svg.namespaceURI, "path")).setAttribute("class", name);
  }
  return svg;
}

// Its dark halo makes a line twice as slow to paint: while a slider moves, there is none.
function draw(svg, path, halo = path) {
  svg.firstChild.setAttribute("d", halo);
  svg.lastChild.setAttribute("d", path);
}

async function main() {
  const networks = await Promise.all(
    data.networks.map(async ({name, probability}) => ({name, probability: await raster(probability)})));
  const truth = data.truth && await raster(data.truth);
  const layers = {};
  texts();
  document.querySelector(".panel").hidden = !networks.length;  // until a network has mapped the scene

  const bounds = [[0, 0], [height, width]];
  const map = L.map("map", {
    crs: L.CRS.Simple, attributionControl: false, minZoom: -4, maxZoom: 4, zoomSnap: 0.1, scrollWheelZoom: false,
    maxBounds: L.latLngBounds(bounds).pad(0.3),
  });
  map.fitBounds(bounds);
  // A page that is scrolled past the map is not caught by it.
  map.on("focus", () => map.scrollWheelZoom.enable()).on("blur", () => map.scrollWheelZoom.disable());
  layers.image = [L.imageOverlay(data.image, bounds).addTo(map).getElement()];
  networks.forEach((network, k) => {
    network.pane = map.createPane(`network-${k}`);
    network.pane.style.zIndex = 410 + k;
    network.lines = lines("mapped");
    const [picture, drawn] = [coloured(network.probability), network.lines].map(
      (each) => L.svgOverlay(each, bounds, {pane: `network-${k}`}).addTo(map).getElement());
    (layers.probability ??= []).push(picture);
    (layers.mapped ??= []).push(drawn);
  });
  if (truth) {
    const known = truth.map((value) => Number(value === 1));
    const found = landslides(known, 1);
    layers.truth = [L.svgOverlay(lines("truth"), bounds).addTo(map).getElement()];
    draw(layers.truth[0], outline(known));
    element("scored").textContent = `Pixels as outlined, against ${found.count} true landslides`;
  }

  function texts() {
    document.title = element("title").textContent = data.title;
    element("about").textContent = data.about;
    for (const note of data.notes) element("notes").appendChild(document.createElement("li")).textContent = note;
    element("scored").textContent = "No true outlines are given: nothing to score against";
    const heads = ["Network", ...(truth ? ["Precision", "Recall", "F1"] : []), "Landslides"];
    for (const name of heads) {
      const cell = element("head").appendChild(document.createElement("th"));
      cell.scope = "col";
      cell.textContent = name;
    }
    if (!truth) document.querySelector("[data-layer=truth]").parentElement.hidden = true;
    const style = document.documentElement.style;
    style.setProperty("--aspect", `${width} / ${height}`);
    style.setProperty(
      "--ramp", `linear-gradient(90deg, ${RAMP.map((each) => `rgb(${each})`)})`);
  }

  // Sliders
  const threshold = element("threshold"), least = element("least"), opacity = element("opacity");
  const areas = [...new Set([...AREAS, data.least_px])].sort((a, b) => a - b);
  threshold.max = levels.length - 1;
  threshold.value = levels.indexOf(data.threshold);
  least.max = areas.length - 1;
  least.value = areas.indexOf(data.least_px);

  function area() {
    const pixels = areas[least.value];
    const unit = step > 1 ? "px shown" : "px";
    return `${pixels} ${unit}` + (data.pixel_m2 ? ` (${Math.round(pixels * data.pixel_m2).toLocaleString("en")} m²)` : "");
  }

  let later;
  function update() {
    const from = Number(threshold.value) + 1, chosen = String(Number(levels[threshold.value].toFixed(3)));
    element("threshold-value").textContent = chosen;
    threshold.setAttribute("aria-valuetext", chosen);
    element("least-value").textContent = area();
    least.setAttribute("aria-valuetext", area());
    const rows = networks.map((network) => {
      const found = landslides(network.probability.map((value) => Number(value >= from && value !== UNKNOWN)), areas[least.value]);
      network.kept = found.kept;
      network.path = outline(found.kept);
      draw(network.lines, network.path, "");
      const scores = truth ? score(found.kept, network.probability, truth) : {};
      return [network.name, ...Object.values(scores).map(number), found.count.toLocaleString("en")];
    });
    element("rows").replaceChildren(...rows.map((texts) => {
      const row = document.createElement("tr");
      texts.forEach((text, k) => {
        const cell = row.appendChild(document.createElement(k ? "td" : "th"));
        if (!k) cell.scope = "row";
        cell.textContent = text;
      });
      return row;
    }));
    clearTimeout(later);  // read aloud when the slider has come to rest
    const heads = [...element("head").cells].map((cell) => cell.textContent);
    later = setTimeout(() => {
      for (const network of networks) draw(network.lines, network.path);
      element("said").textContent = rows.map((row) => row.map((text, k) => (k ? `${heads[k]} ${text}` : text)).join(", ")).join("; ");
    }, 400);
  }

  let waits = false;
  for (const slider of [threshold, least]) {
    slider.addEventListener("input", () => {
      if (waits) return;
      waits = true;
      requestAnimationFrame(() => { waits = false; update(); });
    });
  }
  update();

  // Layers
  function show() {
    for (const box of document.querySelectorAll("[data-layer]")) {
      for (const layer of layers[box.dataset.layer] ?? []) layer.style.visibility = box.checked ? "" : "hidden";
    }
    for (const layer of layers.probability ?? []) layer.style.opacity = opacity.value / 100;
    element("opacity-value").textContent = `${opacity.value} %`;
  }
  for (const input of [...document.querySelectorAll("[data-layer]"), opacity]) input.addEventListener("input", show);
  show();

  // The divide between two networks
  const divide = element("divide");
  function swipe() {
    const size = map.getSize(), corner = map.containerPointToLayerPoint([0, 0]), end = map.containerPointToLayerPoint(size);
    const x = corner.x + size.x * divide.value / 100;
    const box = (from, to) => `polygon(${from}px ${corner.y}px, ${to}px ${corner.y}px, ${to}px ${end.y}px, ${from}px ${end.y}px)`;
    networks[0].pane.style.clipPath = box(corner.x, x);
    networks[1].pane.style.clipPath = box(x, end.x);
    element("swipe").style.setProperty("--divide", `${divide.value}%`);
    element("swipe").style.setProperty("--map-height", `${map.getContainer().offsetHeight}px`);
  }
  if (networks.length > 1) {
    element("swipe").hidden = false;
    element("left").textContent = networks[0].name;
    element("right").textContent = networks[1].name;
    divide.addEventListener("input", swipe);
    map.on("move resize zoomend", swipe);
    swipe();
  }

  // Values under the pointer, or at the cross when the map is moved by keyboard
  function read({lat, lng}) {
    const row = Math.floor(height - lat), col = Math.floor(lng);
    if (row < 0 || col < 0 || row >= height || col >= width) return;
    const k = (row + 1) * wide + col + 1, code = truth ? truth[k] : UNKNOWN;
    const true_ = code === UNKNOWN ? "" : ` · truth: ${code ? "landslide" : "no landslide"}`;
    const values = networks.map(({name, probability, kept}) => {
      if (probability[k] === UNKNOWN) return `${name}: no data`;
      const kind = code === UNKNOWN ? "" : [["", "miss"], ["false alarm", "hit"]][kept[k]][code];
      return `${name}: probability ${reached(probability[k]).toFixed(2)}, ${kept[k] ? "landslide" : "no landslide"}${kind && ` (${kind})`}`;
    });
    const place = `Row ${data.row + row * step}, column ${data.col + col * step}`;
    element("here").textContent = [place, ...values].join(" · ") + true_;
  }
  map.on("mousemove click", (event) => read(event.latlng));
  map.on("moveend", () => { if (map.getContainer().matches(":focus-visible")) read(map.getCenter()); });
}

// A page around this one, which shows it in a frame, says when it turns light or dark.
addEventListener("message", ({data: theme}) => {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
});

main().catch((error) => { document.getElementById("here").textContent = `The map cannot be shown: ${error.message}`; throw error; });
