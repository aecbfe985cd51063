// The page of an explanation. present() shows one, as page.py describes it; the same code serves the page in a file,
// which finds it in itself, and the live one, which asks for it.

const byId = (id) => document.getElementById(id);
const state = {
  held: [], preview: null, first: null, tab: 0, // words; tab: where the tab key goes
  frame: 0, target: null, // on the screen, and where a seek goes
  cell: null, corner: null, // row, column: pointed at, and the first one of a rectangle
  colours: 0, opacity: 0.75, pair: "beside",
};
let data; // what page.py's about() says
let views = []; // of each method and normalization
let view; // the one that is shown
let colours; // uint8 [maps, 256, 3]
let medium; // the <img> or <video>
let player = null; // the <video>

function shownWords() { // the one under the mouse, those that are held, or at first the one that owes most to the picture
  if (state.preview !== null) return [state.preview];
  return state.held.length || state.first === null ? state.held : [state.first];
}

const isBeside = () => shownWords().length === 2 && state.pair === "beside";

function element(name, content, className) {
  const made = document.createElement(name);
  if (content !== undefined) made.textContent = content; // text, never markup
  if (className) made.className = className;
  return made;
}

function bar(share) {
  const made = element("span", undefined, "bar"), filled = element("span");
  filled.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  made.append(filled);
  return made;
}

// ---------------------------------------------------------------------------------------------- heat

const figures = [...document.querySelectorAll("figure")], canvases = [byId("heat"), byId("heat-2")];
let heats = [], palettes;

function layOut() {
  const [, , ...grid] = view.about.shape;
  heats = canvases.map((canvas) => new Heat(canvas, data.size, data.box, grid));
  Object.assign(byId("copy"), { width: canvases[0].width, height: canvases[0].height });
  figures.forEach((figure) => (figure.style.maxWidth = `calc(65vh * ${data.size[0] / data.size[1]})`)); // strips stay in sight
  byId("help-released").hidden = view.about.normalization !== "released";
  byId("help-linear").hidden = view.about.normalization === "released";
  choosePalettes();
}

function choosePalettes() {
  const own = (k) => colours.subarray(768 * k, 768 * (k + 1));
  palettes = {
    one: paletteOf(own(state.colours), state.opacity, (level) => level / 255),
    two: paletteOf(own(data.colour_maps.length - 1), state.opacity, (level) => Math.min(Math.abs(level - 127.5) / 80, 1)),
  };
}

function drawHeat() {
  const words = shownWords(), [one, two] = words.map((word) => mapOf(view, view.maps, state.frame, word));
  const beside = isBeside();
  figures[1].hidden = !beside;
  figures.forEach((figure, k) => (figure.querySelector("figcaption").textContent = beside ? data.words[words[k]] : ""));
  if (beside) {
    byId("copy").getContext("2d").drawImage(medium, 0, 0, canvases[1].width, canvases[1].height);
    heats[0].draw(one, palettes.one);
    heats[1].draw(two, palettes.one);
  } else if (two) {
    heats[0].draw(Float32Array.from(one, (value, k) => (value - two[k]) / 2 + 127.5), palettes.two);
  } else {
    heats[0].draw(one || null, palettes.one);
  }
  drawLegend(two && !beside ? "two" : "one", words);
}

function drawLegend(kind, words) {
  const [low, canvas, high] = byId("legend").children, pen = canvas.getContext("2d"), image = pen.createImageData(256, 1);
  new Uint32Array(image.data.buffer).set(palettes[kind]);
  pen.putImageData(image, 0, 0);
  const oneWord = view.about.normalization === "released" ? "high, among the words" : "high, for each word by itself";
  [low.textContent, high.textContent] = kind === "two" ? [data.words[words[1]], data.words[words[0]]] : ["low", oneWord];
}

// ---------------------------------------------------------------------------------------------- words

const rounded = (value, digits) => Number(value.toFixed(digits)) + 0; // no −0
const number = (value, digits = 2) => rounded(value, digits).toFixed(digits).replace("-", "−");
const greyLogQ = (word) => data.log_q[word] - data.gain[word];
const added = (word) => number(rounded(data.log_q[word], 2) - rounded(greyLogQ(word), 2)); // as it is told
let buttons = [];

function makeButtons() {
  buttons = data.words.map((word, k) => {
    const button = element("button", word);
    button.append(bar(data.gain[k] / data.full_bar));
    button.type = "button";
    button.setAttribute("aria-label", `${word}: the picture adds ${added(k)} nats`);
    button.addEventListener("focus", () => { state.tab = k; });
    button.addEventListener("mouseenter", () => preview(k));
    button.addEventListener("mouseleave", () => preview(null));
    button.addEventListener("blur", () => preview(null));
    button.addEventListener("click", () => hold(k));
    return button;
  });
  byId("words").replaceChildren(...buttons);
}

function preview(word) {
  state.preview = word;
  refresh();
}

function hold(word) {
  const isHeld = state.held.includes(word);
  state.held = isHeld ? state.held.filter((one) => one !== word) : [...state.held.slice(-1), word]; // at most two
  state.preview = isHeld && buttons[word].matches(":hover") ? word : null;
  state.first = null;
  refresh();
}

function walk(step) { // to the next word, which is shown as under the mouse; enter holds it
  const n = data.words.length, at = buttons.indexOf(document.activeElement), shown = shownWords();
  const from = at >= 0 ? at : shown.length ? shown[shown.length - 1] : step > 0 ? -1 : 0;
  buttons[(from + step + n) % n].focus();
  preview((from + step + n) % n);
}

function letGo() {
  Object.assign(state, { held: [], preview: null, first: null });
  refresh();
}

function told() {
  const words = shownWords(), names = words.map((word) => `“${data.words[word]}”`);
  if (!words.length) return "Hover a word to see its map; click to hold it.";
  if (words.length === 2) {
    const add = words.map((word, k) => `to ${names[k]} the picture adds ${added(word)} nats`).join(", ");
    if (isBeside()) return `${names[0]} beside ${names[1]}; ${add}`;
    return `${names[0]} (red) less ${names[1]} (blue): where the one map is above the other; ${add}`;
  }
  const [word] = words, what = data.is_contrast ? "difference of log q" : "log q";
  const [without, seen] = [greyLogQ(word), data.log_q[word]].map((value) => number(value));
  let line = `${names[0]}: ${what} ${without} without the picture, ${seen} with it: the picture adds ${added(word)} nats`;
  if (player) line += `; most salient at ${seconds(mostSalient(word))}, frame ${mostSalient(word) + 1}`;
  return line;
}

// ---------------------------------------------------------------------------------------------- time

const nFrames = () => view.about.shape[0], seconds = (frame) => `${(frame / data.fps).toFixed(2)} s`;
let strips = [];

function mostSalient(word) {
  const { curves } = view.about;
  let best = 0;
  for (let f = 1; f < curves.length; f++) if (curves[f][word] > curves[best][word]) best = f;
  return best;
}

function atFrame(frame) { // the frame that is on the screen
  state.frame = Math.min(Math.max(frame, 0), nFrames() - 1);
  if (state.frame === state.target) state.target = null;
  refresh();
}

function seek(frame) {
  player.pause();
  state.target = Math.min(Math.max(frame, 0), nFrames() - 1);
  player.currentTime = (state.target + 0.5) / data.fps; // the middle of a frame's time
}

const step = (frames) => seek((state.target ?? state.frame) + frames); // quick steps do not wait for each other

// Which frame is on the screen at a time. Browsers say when it began or, after a seek, the time that was asked for.
const frameAt = (seconds) => Math.floor(seconds * data.fps + 0.25);

function follow(video) {
  if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
    const next = (_now, about) => {
      if (video !== player) return;
      if (data) atFrame(frameAt(about.mediaTime));
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  } else {
    const next = () => {
      if (video !== player) return;
      if (data && frameAt(video.currentTime) !== state.frame) atFrame(frameAt(video.currentTime));
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }
}

function makeStrips() {
  strips.forEach(({ track, name }) => { track.remove(); name.remove(); });
  strips = data.words.map((word, k) => {
    const track = element("div", undefined, "track"), heat = element("canvas"), mark = element("i");
    const name = element("button", word);
    name.type = "button";
    name.tabIndex = -1; // the words above are there for the keyboard
    name.addEventListener("click", () => hold(k));
    heat.setAttribute("role", "img");
    track.append(heat, mark);
    byId("names").append(name);
    byId("tracks").append(track);
    return { track, heat, mark, name };
  });
}

function drawStrips() {
  const { curves } = view.about, palette = paletteOf(colours.subarray(768 * state.colours), 1, () => 1);
  strips.forEach(({ heat, mark }, word) => {
    const values = curves.map((row) => row[word]), low = Math.min(...values), high = Math.max(...values);
    Object.assign(heat, { width: values.length, height: 1 });
    heat.setAttribute("aria-label", `“${data.words[word]}” is most salient at ${seconds(mostSalient(word))}`);
    const pen = heat.getContext("2d"), image = pen.createImageData(values.length, 1);
    const levels = values.map((value) => (high > low ? Math.round((255 * (value - low)) / (high - low)) : 0));
    new Uint32Array(image.data.buffer).set(levels.map((level) => palette[level]));
    pen.putImageData(image, 0, 0);
    mark.style.left = `${(100 * (mostSalient(word) + 0.5)) / values.length}%`;
  });
}

function toPeak() {
  const word = shownWords().at(-1);
  if (word !== undefined) seek(mostSalient(word));
}

function toggle() {
  state.target = null;
  if (player.paused) player.play();
  else player.pause();
}

function toFrame(event) { // a click into the strips
  const box = byId("tracks").getBoundingClientRect();
  seek(Math.floor(((event.clientX - box.left) / box.width) * nFrames()));
}

// ---------------------------------------------------------------------------------------------- a place

function shareOf(event, target) { // where a pointer is, in shares of the picture: y, x
  const box = target.getBoundingClientRect();
  return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
}

function atPlace(event) {
  const [y, x] = shareOf(event, event.currentTarget), [top, left, bottom, right] = data.box;
  const [, , height, width] = view.about.shape;
  const row = Math.floor(((y - top) / (bottom - top)) * height), column = Math.floor(((x - left) / (right - left)) * width);
  state.cell = row < 0 || column < 0 || row >= height || column >= width ? "outside" : [row, column];
  drawPlace();
}

function leavePlace(event) {
  if (event.pointerType !== "mouse") return; // a finger leaves when it is lifted
  state.cell = null;
  drawPlace();
}

function moveCell(down, right) {
  const [, , height, width] = view.about.shape, from = Array.isArray(state.cell) ? state.cell : null;
  const clip = (value, n) => Math.min(Math.max(value, 0), n - 1);
  state.cell = from ? [clip(from[0] + down, height), clip(from[1] + right, width)] : [height >> 1, width >> 1];
  drawPlace();
}

function drawPlace() {
  const { cell } = state, marks = document.querySelectorAll(".cell");
  marks.forEach((mark) => (mark.hidden = !Array.isArray(cell)));
  if (!cell) { byId("place").replaceChildren(); return; } // nothing is pointed at
  byId("place").setAttribute("aria-live", player && !player.paused ? "off" : "polite");
  if (cell === "outside") {
    byId("place").replaceChildren(element("p", "The captioner does not see this place."));
    return;
  }
  const [, , height, width] = view.about.shape, [top, left, bottom, right] = data.box, [row, column] = cell;
  const size = [(bottom - top) / height, (right - left) / width].map((share) => 100 * share);
  marks.forEach((mark) => Object.assign(mark.style, {
    top: `${100 * top + row * size[0]}%`, left: `${100 * left + column * size[1]}%`, height: `${size[0]}%`, width: `${size[1]}%`,
  }));
  const table = element("table"), body = element("tbody"), at = row * width + column;
  const head = element("tr");
  head.append(element("td"), element("td", "map", "share"), element("td", "raw"));
  body.append(head);
  table.append(element("caption", `Here, in row ${row + 1}, column ${column + 1}`), body);
  data.words.forEach((word, k) => {
    const line = element("tr"), share = element("td", undefined, "share");
    share.append(bar(mapOf(view, view.maps, state.frame, k)[at] / 255));
    line.append(element("th", word), share, element("td", number(rawAt(view, state.frame, k, at), 2)));
    body.append(line);
  });
  byId("place").replaceChildren(table);
}

// ---------------------------------------------------------------------------------------------- all of it

function refresh() {
  if (!data) return; // nothing is explained (yet)
  const words = shownWords();
  buttons.forEach((button, k) => {
    button.setAttribute("aria-pressed", String(state.held.includes(k)));
    button.tabIndex = k === state.tab ? 0 : -1; // one stop of the tab key; the arrows walk on
    button.classList.toggle("shown", words.includes(k));
  });
  const line = told();
  if (byId("told").textContent !== line) byId("told").textContent = line;
  if (player) {
    byId("playhead").style.left = `${(100 * (state.frame + 0.5)) / nFrames()}%`;
    byId("clock").textContent = `frame ${state.frame + 1} of ${nFrames()}, ${seconds(state.frame)}`;
    const last = words.at(-1);
    byId("peak").hidden = last === undefined;
    if (last !== undefined) byId("peak").textContent = `to the most salient frame of “${data.words[last]}”, ${mostSalient(last) + 1}`;
    strips.forEach(({ track, name }, k) => [track, name].forEach((one) => one.classList.toggle("held", words.includes(k))));
  }
  drawHeat();
  drawPlace();
  Object.assign(document.body.dataset, { frame: state.frame, words: words.join(" ") }); // what is on the canvas
}

// Whether space presses a button: one that has the keyboard's focus, but for words, which enter holds.
const pressesItself = (event) => event.target.closest("button:focus-visible") && !(player && event.target.closest("#words"));

function keys(event) {
  if (!data || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("form, summary")) return;
  const overPicture = event.target.closest(".picture"), onButton = pressesItself(event);
  const actions = {
    ArrowRight: () => (overPicture ? moveCell(0, 1) : walk(1)),
    ArrowLeft: () => (overPicture ? moveCell(0, -1) : walk(-1)),
    Escape: letGo,
  };
  if (overPicture) Object.assign(actions, { ArrowUp: () => moveCell(-1, 0), ArrowDown: () => moveCell(1, 0) });
  if (player) {
    actions[","] = () => step(-1);
    actions["."] = () => step(1);
    actions.m = toPeak;
    if (!onButton) actions[" "] = toggle; // on a button that has the keyboard's focus space presses that
  }
  if (actions[event.key]) {
    actions[event.key]();
    event.preventDefault();
  }
}

function offer(select, names) { // a choice of one is none
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  select.closest("label").hidden = names.length < 2;
}

function chooseView() {
  const chosen = (one) => ["method", "normalization"].every((name) => one.about[name] === byId(name).value);
  const before = view?.about.shape.slice(2).join();
  view = views.find(chosen) || views[0];
  if (view.about.shape.slice(2).join() !== before) Object.assign(state, { cell: null, corner: null }); // other cells
  layOut();
  if (player) drawStrips();
  refresh();
}

function listen() {
  byId("pair").addEventListener("change", () => { state.pair = byId("pair").value; refresh(); });
  byId("opacity").addEventListener("input", () => { state.opacity = Number(byId("opacity").value); choosePalettes(); refresh(); });
  byId("colours").addEventListener("change", () => { state.colours = byId("colours").selectedIndex; chooseView(); });
  for (const name of ["method", "normalization"]) byId(name).addEventListener("change", chooseView);
  for (const canvas of canvases) {
    for (const kind of ["pointermove", "pointerdown"]) canvas.addEventListener(kind, atPlace);
    canvas.addEventListener("pointerleave", leavePlace);
  }
  byId("play").addEventListener("click", toggle);
  byId("back").addEventListener("click", () => step(-1));
  byId("forth").addEventListener("click", () => step(1));
  byId("peak").addEventListener("click", toPeak);
  byId("tracks").addEventListener("pointerdown", (event) => {
    toFrame(event);
    byId("tracks").setPointerCapture(event.pointerId);
  });
  byId("tracks").addEventListener("pointermove", (event) => event.buttons && toFrame(event));
  document.addEventListener("keydown", keys);
  document.addEventListener("keyup", (event) => { // where a browser presses buttons
    if (event.key === " " && player && event.target.closest("button") && !pressesItself(event)) event.preventDefault();
  });
}

function showMedium(source, isVideo, name) {
  if (medium) { URL.revokeObjectURL(medium.src); medium.remove(); }
  Object.assign(state, { frame: 0, target: null });
  medium = element(isVideo ? "video" : "img");
  player = isVideo ? medium : null;
  byId("time").hidden = byId("help-time").hidden = !isVideo;
  if (isVideo) {
    Object.assign(medium, { muted: true, playsInline: true, loop: true, preload: "auto" });
    medium.setAttribute("aria-label", name);
    for (const kind of ["play", "pause"]) {
      medium.addEventListener(kind, ({ target }) => (byId("play").textContent = target.paused ? "▶" : "❚❚"));
    }
    follow(medium);
  } else {
    medium.alt = name;
  }
  medium.addEventListener(isVideo ? "loadeddata" : "load", () => data && refresh());
  medium.src = source;
  byId("picture").prepend(medium);
}

// about: what page.py's about() says; maps: of each view, in base64.
async function present(about, maps) {
  const unpackedViews = await Promise.all(about.views.map((one, k) => unpacked(one, maps[k])));
  [data, views] = [about, unpackedViews];
  Object.assign(state, { preview: null, cell: null });
  const own = data.is_own ? " (the captioner’s own caption)" : "";
  byId("title").textContent = `${data.medium}: “${data.sentence}”${own}`;
  byId("notes").textContent = data.notes.join("; ");
  document.title = `${data.sentence} – ${data.medium}`;
  offer(byId("colours"), data.colour_maps.slice(0, -1));
  byId("colours").selectedIndex = state.colours;
  for (const name of ["method", "normalization"]) offer(byId(name), [...new Set(data.views.map((one) => one[name]))]);
  makeButtons();
  if (player) makeStrips();
  state.frame = Math.min(state.frame, data.views[0].shape[0] - 1);
  byId("pair").closest("label").hidden = data.words.length < 2;
  byId("full-bar").textContent = data.full_bar;
  const first = data.gain.indexOf(Math.max(...data.gain));
  Object.assign(state, { held: [], first, tab: first });
  byId("explanation").hidden = false;
  chooseView();
  document.body.dataset.ready = "yes";
}

async function start() {
  colours = bytesOf(byId("blob-colours").textContent);
  listen();
  byId("opacity").value = state.opacity;
  if (!byId("data")) return; // the live page asks first
  const about = JSON.parse(byId("data").textContent), inside = byId("blob-medium");
  const source = about.source ?? URL.createObjectURL(new Blob([bytesOf(inside.textContent)], { type: about.kind }));
  showMedium(source, about.is_video, about.medium);
  await present(about, about.views.map((_, k) => byId(`blob-maps-${k}`).textContent));
}

start();
