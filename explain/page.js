"use strict";
// The page of an explanation (page.py writes what it reads). Axes as there: F frames, T words, Gy x Gx cells.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const N_WORDS = data.words.length;
const HEAT_SIDE = 480; // pixels of the canvas' longer side: the browser enlarges it smoothly

function bytesOf(id) {
  const text = atob(byId(`blob-${id}`).textContent);
  const bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  return bytes;
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function element(name, content, className) {
  const made = document.createElement(name);
  if (content !== undefined) made.textContent = content; // text, never markup
  if (className) made.className = className;
  return made;
}

// ---------------------------------------------------------------------------------------------- what is shown

const state = { held: [], preview: null, frame: 0, view: 0, colours: 0, opacity: data.opacity };
const views = []; // of each method: maps uint8 and raw uint16, [F, T, Gy, Gx] in a row
let colours; // uint8 [maps, 256, 3]
const shownWords = () => (state.preview !== null ? [state.preview] : state.held);

async function unpack(k) {
  const about = data.views[k], bytes = await inflated(bytesOf(`maps-${k}`));
  const n = about.shape.reduce((a, b) => a * b, 1);
  views[k] = { about, maps: bytes.subarray(0, n), raw: new Uint16Array(bytes.slice(n).buffer) };
}

function mapAt(values, frame, word) {
  const [, T, height, width] = views[state.view].about.shape, n = height * width;
  const start = (frame * T + word) * n;
  return values.subarray(start, start + n);
}

// Where each of n pixels lies among the cells of a side that covers [start, stop) of it: the centre of every cell keeps
// its place (vision/geometry.py, enlarge).
function places(nCells, start, stop, n) {
  const found = { low: new Int32Array(n), high: new Int32Array(n), share: new Float32Array(n), inside: new Uint8Array(n) };
  for (let k = 0; k < n; k++) {
    const pixel = (k + 0.5) / n;
    const at = Math.min(Math.max(((pixel - start) / (stop - start)) * nCells - 0.5, 0), nCells - 1);
    found.low[k] = Math.min(Math.floor(at), Math.max(nCells - 2, 0));
    found.high[k] = Math.min(found.low[k] + 1, nCells - 1);
    found.share[k] = at - found.low[k];
    found.inside[k] = pixel >= start && pixel < stop;
  }
  return found;
}

const canvas = byId("heat"), brush = canvas.getContext("2d");
let raster; // of the canvas: { image, rows, columns }

function layOut() {
  const [width, height] = data.size, scale = HEAT_SIDE / Math.max(width, height);
  canvas.width = Math.max(Math.round(width * scale), 1);
  canvas.height = Math.max(Math.round(height * scale), 1);
  const [, , gridHeight, gridWidth] = views[state.view].about.shape, [top, left, bottom, right] = data.box;
  raster = {
    image: brush.createImageData(canvas.width, canvas.height),
    rows: places(gridHeight, top, bottom, canvas.height),
    columns: places(gridWidth, left, right, canvas.width),
  };
}

function valueAt(map, y, x) { // a map [Gy, Gx] at a pixel of the canvas
  const { rows, columns } = raster, gridWidth = views[state.view].about.shape[3];
  const upper = rows.low[y] * gridWidth, lower = rows.high[y] * gridWidth, right = columns.share[x];
  const above = map[upper + columns.low[x]] * (1 - right) + map[upper + columns.high[x]] * right;
  const below = map[lower + columns.low[x]] * (1 - right) + map[lower + columns.high[x]] * right;
  return above * (1 - rows.share[y]) + below * rows.share[y];
}

function drawHeat() {
  const words = shownWords(), { image, rows, columns } = raster, pixels = image.data;
  const maps = words.map((word) => mapAt(views[state.view].maps, state.frame, word));
  const isDifference = maps.length === 2;
  const table = (isDifference ? data.colour_maps.length - 1 : state.colours) * 768;
  for (let y = 0, at = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++, at += 4) {
      if (!rows.inside[y] || !columns.inside[x]) { // what the CNN does not see
        pixels[at] = pixels[at + 1] = pixels[at + 2] = 0;
        pixels[at + 3] = 128;
        continue;
      }
      if (!maps.length) { pixels[at + 3] = 0; continue; }
      const value = valueAt(maps[0], y, x), difference = isDifference ? value - valueAt(maps[1], y, x) : 0;
      const level = Math.round(isDifference ? difference / 2 + 127.5 : value);
      const strength = isDifference ? Math.abs(difference) / 255 : level / 255;
      const colour = table + 3 * Math.min(Math.max(level, 0), 255);
      pixels[at] = colours[colour];
      pixels[at + 1] = colours[colour + 1];
      pixels[at + 2] = colours[colour + 2];
      pixels[at + 3] = Math.round(255 * state.opacity * strength);
    }
  }
  brush.putImageData(image, 0, 0);
}

// ---------------------------------------------------------------------------------------------- words

const nats = (value) => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(1)} nats`;
const buttons = data.words.map((word, k) => {
  const button = element("button", word), bar = element("span", undefined, "gain"), filled = element("span");
  filled.style.width = `${100 * Math.min(Math.max(data.gain[k] / data.full_bar, 0), 1)}%`;
  bar.append(filled);
  button.append(bar);
  button.type = "button";
  button.tabIndex = k ? -1 : 0; // one stop of the tab key; the arrows walk on
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `${word}, ${nats(data.gain[k])} from the picture`);
  button.addEventListener("mouseenter", () => preview(k));
  button.addEventListener("mouseleave", () => preview(null));
  button.addEventListener("click", () => hold(k));
  return button;
});

function preview(word) {
  state.preview = word;
  refresh();
}

function hold(word) {
  const at = state.held.indexOf(word);
  if (at >= 0) state.held.splice(at, 1);
  else state.held = [...state.held.slice(-1), word]; // at most two: the second is taken from the first
  refresh();
}

function walk(step) {
  const from = state.held.length ? state.held[state.held.length - 1] : step > 0 ? -1 : 0;
  const word = (from + step + N_WORDS) % N_WORDS;
  state.held = [word];
  state.preview = null;
  for (const [k, button] of buttons.entries()) button.tabIndex = k === word ? 0 : -1;
  buttons[word].focus();
  refresh();
}

function told() {
  const words = shownWords();
  if (words.length === 2) {
    return `“${data.words[words[0]]}” (red) less “${data.words[words[1]]}” (blue): where the one map is above the other`;
  }
  if (!words.length) return "Hover a word to see its map; click to hold it.";
  const [word] = words, curves = views[state.view].about.curves;
  let line = `“${data.words[word]}”: log q ${nats(data.log_q[word])}, of which ${nats(data.gain[word])} come from the picture`;
  if (curves) line += `; most salient at ${(mostSalient(word) / data.fps).toFixed(2)} s`;
  return line;
}

// ---------------------------------------------------------------------------------------------- time

let player = null;
const nFrames = () => views[state.view].about.shape[0];

function mostSalient(word) {
  const curves = views[state.view].about.curves;
  let best = 0;
  for (let f = 1; f < curves.length; f++) if (curves[f][word] > curves[best][word]) best = f;
  return best;
}

function atFrame(frame) { // the frame that is on the screen
  state.frame = Math.min(Math.max(frame, 0), nFrames() - 1);
  refresh();
}

function seek(frame) {
  player.pause();
  player.currentTime = (Math.min(Math.max(frame, 0), nFrames() - 1) + 0.5) / data.fps; // the middle of a frame's time
}

function follow() {
  if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
    const next = (_now, about) => {
      atFrame(Math.round(about.mediaTime * data.fps));
      player.requestVideoFrameCallback(next);
    };
    player.requestVideoFrameCallback(next);
  } else {
    const next = () => {
      const frame = Math.floor(player.currentTime * data.fps + 1e-3);
      if (frame !== state.frame) atFrame(frame);
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }
}

const strips = [];

function drawStrips() {
  const { curves } = views[state.view].about;
  for (let word = 0; word < N_WORDS; word++) {
    const values = curves.map((row) => row[word]), low = Math.min(...values), high = Math.max(...values);
    const { canvas: strip, mark } = strips[word], pen = strip.getContext("2d");
    strip.width = values.length;
    strip.height = 1;
    const image = pen.createImageData(values.length, 1);
    values.forEach((value, f) => {
      const level = high > low ? Math.round((255 * (value - low)) / (high - low)) : 0;
      const colour = state.colours * 768 + 3 * level;
      image.data.set([colours[colour], colours[colour + 1], colours[colour + 2], 255], 4 * f);
    });
    pen.putImageData(image, 0, 0);
    mark.style.left = `${(100 * (mostSalient(word) + 0.5)) / values.length}%`;
  }
}

function makeStrips() {
  data.words.forEach((word, k) => {
    const strip = element("div", undefined, "strip"), heat = element("canvas"), mark = element("i");
    heat.setAttribute("role", "img");
    heat.setAttribute("aria-label", `when “${word}” is salient`);
    mark.title = "most salient here";
    strip.append(heat, mark, element("span", word));
    byId("strips").append(strip);
    strips.push({ strip, canvas: heat, mark });
  });
  const toFrame = (event) => {
    const box = byId("strips").getBoundingClientRect();
    seek(Math.floor(((event.clientX - box.left) / box.width) * nFrames()));
  };
  byId("strips").addEventListener("pointerdown", (event) => {
    toFrame(event);
    byId("strips").setPointerCapture(event.pointerId);
  });
  byId("strips").addEventListener("pointermove", (event) => event.buttons && toFrame(event));
}

const toggle = () => (player.paused ? player.play() : player.pause());

// ---------------------------------------------------------------------------------------------- a place

function atPlace(event) {
  const box = canvas.getBoundingClientRect(), [top, left, bottom, right] = data.box, { about, raw } = views[state.view];
  const [, , height, width] = about.shape;
  const row = Math.floor((((event.clientY - box.top) / box.height - top) / (bottom - top)) * height);
  const column = Math.floor((((event.clientX - box.left) / box.width - left) / (right - left)) * width);
  if (row < 0 || column < 0 || row >= height || column >= width) {
    byId("place").replaceChildren(element("p", "The captioner does not see this place."));
    return;
  }
  const cell = row * width + column, table = element("table"), body = element("tbody");
  table.append(element("caption", `Here, cell ${row + 1}, ${column + 1}:`), body);
  data.words.forEach((word, k) => {
    const level = mapAt(views[state.view].maps, state.frame, k)[cell] / 255;
    const value = about.low[k] + (mapAt(raw, state.frame, k)[cell] / 65535) * (about.high[k] - about.low[k]);
    const line = element("tr"), bar = element("td", undefined, "bar"), filled = element("span");
    filled.style.width = `${100 * level}%`;
    bar.append(filled);
    line.append(element("th", word), bar, element("td", value.toFixed(2)));
    body.append(line);
  });
  byId("place").replaceChildren(table);
}

// ---------------------------------------------------------------------------------------------- all of it

function refresh() {
  const words = shownWords();
  buttons.forEach((button, k) => {
    button.setAttribute("aria-pressed", String(state.held.includes(k)));
    button.classList.toggle("shown", words.includes(k));
  });
  const line = told();
  if (byId("told").textContent !== line) byId("told").textContent = line;
  if (data.is_video) {
    byId("playhead").style.left = `${(100 * (state.frame + 0.5)) / nFrames()}%`;
    byId("clock").textContent = `frame ${state.frame + 1} of ${nFrames()}, ${(state.frame / data.fps).toFixed(2)} s`;
    strips.forEach(({ strip }, k) => strip.classList.toggle("held", words.includes(k)));
  }
  drawHeat();
  document.body.dataset.frame = state.frame; // what is on the canvas
  document.body.dataset.words = words.join(" ");
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("form, summary")) return;
  const onButton = event.target.closest("button") !== null;
  const actions = {
    ArrowRight: () => walk(1),
    ArrowLeft: () => walk(-1),
    Escape: () => { state.held = []; state.preview = null; refresh(); },
  };
  if (player) {
    actions[","] = () => seek(state.frame - 1);
    actions["."] = () => seek(state.frame + 1);
    if (!onButton) actions[" "] = toggle; // on a button space presses that
  }
  if (actions[event.key]) {
    actions[event.key]();
    event.preventDefault();
  }
}

function choices(select, names, choose) {
  names.forEach((name, k) => select.append(new Option(name, k)));
  select.addEventListener("change", () => { choose(Number(select.value)); refresh(); });
}

async function start() {
  colours = bytesOf("colours");
  for (let k = 0; k < data.views.length; k++) await unpack(k);
  const own = data.is_own ? " (the captioner’s own caption)" : "";
  byId("title").textContent = `${data.medium}: “${data.sentence}”${own}`;
  document.title = `${data.sentence} – ${data.medium}`;
  byId("words").append(...buttons);
  const source = URL.createObjectURL(new Blob([bytesOf("medium")], { type: data.kind }));
  const shown = element(data.is_video ? "video" : "img");
  shown.src = source;
  if (data.is_video) {
    Object.assign(shown, { muted: true, playsInline: true, loop: true, preload: "auto" });
    shown.setAttribute("aria-label", data.medium);
    player = shown;
    byId("time").hidden = false;
    makeStrips();
    drawStrips();
    follow();
    byId("play").addEventListener("click", toggle);
    byId("back").addEventListener("click", () => seek(state.frame - 1));
    byId("forth").addEventListener("click", () => seek(state.frame + 1));
    for (const name of ["play", "pause"]) {
      player.addEventListener(name, () => (byId("play").textContent = player.paused ? "▶" : "❚❚"));
    }
  } else {
    shown.alt = data.medium;
  }
  byId("picture").prepend(shown);
  layOut();
  byId("opacity").value = state.opacity;
  byId("opacity").addEventListener("input", () => { state.opacity = Number(byId("opacity").value); drawHeat(); });
  choices(byId("colours"), data.colour_maps.slice(0, -1), (k) => { state.colours = k; if (player) drawStrips(); });
  choices(byId("view"), data.views.map((one) => one.name), (k) => { state.view = k; layOut(); if (player) drawStrips(); });
  canvas.addEventListener("pointermove", atPlace);
  canvas.addEventListener("pointerdown", atPlace);
  document.addEventListener("keydown", keys);
  state.held = [data.gain.indexOf(Math.max(...data.gain))]; // the word that owes most to the picture
  refresh();
  document.body.dataset.ready = "yes";
}

start();
