// The page, alive: what explore.py answers is shown by page.js.

let laid = null; // the medium on the bench: id, medium, is_video, kind, captions
let question = null; // what the maps on the page are of: { medium, sentence, instead }
let vocabulary = [];
let answering = null; // of the question that is being answered: an AbortController

const MOST_COMPLETIONS = 8;

// ---------------------------------------------------------------------------------------------- questions

// Ask the server -> its result; what it tells meanwhile is shown. An answer that nobody waits for any more is stopped.
async function asked(path, body, headers, doing) {
  answering?.abort();
  const own = (answering = new AbortController());
  tellDoing(doing, true);
  try {
    const response = await fetch(path, { method: "POST", body, headers, signal: own.signal });
    if (!response.ok) throw await failure(response);
    let last = {};
    for await (const told of linesOf(response)) {
      if (own !== answering) return null;
      if ("waiting" in told) tellDoing(`${told.waiting} before you`, true);
      if ("done" in told) tellProgress(doing, told.done, told.of);
      last = told;
    }
    if (own !== answering) return null;
    if ("result" in last) { tellDoing("", false); return last.result; }
    throw Object.assign(new Error(last.error ?? "the program has ended"), { near: last.near });
  } catch (error) {
    if (own === answering) tellError(error);
    return null;
  } finally {
    if (own === answering) answering = null;
  }
}

function tellError(error) {
  const near = Object.entries(error.near ?? {});
  if (near.length) tellNear(near);
  let line = near.length ? "" : error.message;
  if (error.name === "AbortError") line = "stopped";
  if (error instanceof TypeError) line = "the program does not answer: is it still running?";
  tellDoing(line, false);
}

async function failure(response) {
  const text = await response.text();
  try { return new Error(JSON.parse(text).error); } catch { return new Error(text || `status ${response.status}`); }
}

async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines.map((line) => JSON.parse(line));
  }
}

function tellDoing(text, isBusy) {
  byId("doing").textContent = text;
  byId("waiting").hidden = !isBusy;
  byId("progress").removeAttribute("value");
  document.body.dataset.busy = isBusy ? "yes" : "no";
}

function tellProgress(doing, done, total) {
  byId("doing").textContent = doing;
  if (done) Object.assign(byId("progress"), { value: done, max: total });
}

// ---------------------------------------------------------------------------------------------- a medium

async function lay(file) {
  [laid, question] = [null, null];
  byId("asking").hidden = byId("explanation").hidden = byId("covered").hidden = true;
  delete document.body.dataset.ready;
  const found = await asked("/media", file, { "X-Name": encodeURIComponent(file.name) }, `looking at ${file.name}`);
  if (!found) return;
  laid = found;
  const content = await (await fetch(`/media/${laid.id}`)).blob();
  data = null;
  showMedium(URL.createObjectURL(content), laid.is_video, laid.medium);
  byId("captions").replaceChildren(...laid.captions.map(({ sentence, score }, k) => {
    const line = element("li"), button = element("button", sentence || "(nothing)");
    button.type = "button";
    button.addEventListener("click", () => {
      Object.assign(byId("sentence"), { value: sentence });
      byId("instead").value = "";
      explain(k ? sentence : null); // its own caption: equation (5)
    });
    line.append(button, element("span", score.toFixed(2), "score"));
    return line;
  }));
  byId("asking").hidden = false;
  byId("sentence").value = byId("instead").value = "";
  await explain(null);
}

// ---------------------------------------------------------------------------------------------- a sentence

async function explain(sentence) {
  byId("near").replaceChildren();
  uncover();
  const own = { medium: laid.id, sentence, instead: byId("instead").value.trim() || null }, start = performance.now();
  const found = await asked("/explain", JSON.stringify(own), {}, "computing the maps");
  if (!found) return;
  question = own;
  await present(found.about, found.maps);
  byId("covered").hidden = false;
  document.body.dataset.milliseconds = Math.round(performance.now() - start);
}

function tellNear(near) { // unknown words, each with the known ones that come near: a click takes one
  const lines = near.map(([word, known]) => {
    const line = element("span", `The captioner does not know “${word}”${known.length ? "; near it: " : "."}`);
    for (const one of known) {
      const button = element("button", one);
      button.type = "button";
      button.addEventListener("click", () => take(word, one));
      line.append(button);
    }
    return line;
  });
  byId("near").replaceChildren(...lines);
}

function take(word, known) {
  const replaced = (text) => text.split(/(\s+|=)/).map((part) => (part.toLowerCase().startsWith(word) ? known : part)).join("");
  for (const name of ["sentence", "instead"]) byId(name).value = replaced(byId(name).value);
  explain(byId("sentence").value.trim() || null);
}

function complete() { // the last word, from the vocabulary, whose words come by how often captions have them
  const text = byId("sentence").value, [, before, start] = text.match(/^(.*?)(\S*)$/s);
  const fitting = start ? vocabulary.filter((word) => word.startsWith(start.toLowerCase())) : [];
  byId("completions").replaceChildren(...fitting.slice(0, MOST_COMPLETIONS).map((word) => new Option(before + word)));
}

// ---------------------------------------------------------------------------------------------- covering

let corner = null; // of a rectangle that is being drawn: y, x
let cornerCell = null; // the same by keyboard: row, column
const covers = figures.map((figure) => {
  const cover = element("div", undefined, "cover");
  cover.hidden = true;
  figure.querySelector(".picture").append(cover);
  return cover;
});

function drawCover([top, left, bottom, right]) {
  const style = { top, left, height: bottom - top, width: right - left };
  for (const cover of covers) {
    cover.hidden = false;
    for (const [name, share] of Object.entries(style)) cover.style[name] = `${100 * share}%`;
  }
}

function uncover() {
  [corner, cornerCell] = [null, null];
  covers.forEach((cover) => (cover.hidden = true));
  byId("changes").replaceChildren();
  byId("uncover").hidden = true;
}

function between([y1, x1], [y2, x2]) {
  const inside = (share) => Math.min(Math.max(share, 0), 1);
  return [Math.min(y1, y2), Math.min(x1, x2), Math.max(y1, y2), Math.max(x1, x2)].map(inside);
}

async function cover(rectangle) {
  const [top, left, bottom, right] = rectangle;
  if (!question || bottom <= top || right <= left) { uncover(); return; }
  drawCover(rectangle);
  byId("uncover").hidden = false;
  const own = question, found = await asked("/cover", JSON.stringify({ ...own, rectangle }), {}, "looking without it");
  if (found && own === question) tellChanges(found);
}

function tellChanges({ captions, words, log_q }) {
  const table = element("table"), body = element("tbody"), head = element("tr");
  for (const title of ["log q, in nats", "before", "covered", "change"]) head.append(element("th", title));
  body.append(head);
  const most = Math.max(1, ...words.map((_, k) => Math.abs(log_q[1][k] - log_q[0][k])));
  words.forEach((word, k) => {
    const change = log_q[1][k] - log_q[0][k], line = element("tr", undefined, change > 0 ? "rise" : ""), share = element("td", undefined, "share");
    share.append(bar(Math.abs(change) / most));
    const numbers = [log_q[0][k], log_q[1][k], change].map((value) => element("td", value.toFixed(2)));
    line.append(element("th", word), ...numbers, share);
    body.append(line);
  });
  table.append(body);
  const said = captions[0] === captions[1] ? "It still says" : `Instead of “${captions[0]}” it says`;
  byId("changes").replaceChildren(element("p", `${said} “${captions[1]}”.`), table);
}

function coverCell() { // the first, then the opposite corner
  if (!Array.isArray(state.cell)) return;
  if (!cornerCell) { cornerCell = state.cell; byId("changes").textContent = "Now the opposite corner."; return; }
  const [, , height, width] = view.about.shape, [top, left, bottom, right] = data.box, cells = [cornerCell, state.cell];
  const [low, high] = [Math.min, Math.max].map((edge) => [0, 1].map((k) => edge(cells[0][k], cells[1][k])));
  const y = (row) => top + (row / height) * (bottom - top), x = (column) => left + (column / width) * (right - left);
  cornerCell = null;
  cover([y(low[0]), x(low[1]), y(high[0] + 1), x(high[1] + 1)]);
}

// ---------------------------------------------------------------------------------------------- all of it

function listenAlive() {
  byId("stage").after(byId("covered"));
  byId("stop").addEventListener("click", () => answering?.abort());
  byId("choose").addEventListener("submit", (event) => event.preventDefault());
  byId("file").addEventListener("change", () => byId("file").files.length && lay(byId("file").files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) lay(event.dataTransfer.files[0]);
  });
  byId("sentence").addEventListener("input", complete);
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if (laid) explain(byId("sentence").value.trim());
  });
  for (const canvas of canvases) {
    canvas.addEventListener("pointerdown", (event) => {
      if (!byId("covering").checked) return;
      corner = shareOf(event, canvas);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => corner && drawCover(between(corner, shareOf(event, canvas))));
    canvas.addEventListener("pointerup", (event) => {
      if (!corner) return;
      const rectangle = between(corner, shareOf(event, canvas));
      corner = null;
      cover(rectangle);
    });
  }
  byId("covering").addEventListener("change", () => document.body.classList.toggle("covering", byId("covering").checked));
  byId("uncover").addEventListener("click", uncover);
  byId("picture").addEventListener("keydown", (event) => event.key === "c" && coverCell());
}

async function startAlive() {
  listenAlive();
  vocabulary = await (await fetch("/words")).json();
  document.body.dataset.alive = "yes";
}

startAlive();
