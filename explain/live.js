// The page, alive: what explore.py answers is shown by page.js.

let laid = null; // the medium on the bench: id, medium, is_video, kind, captions
let question = null; // what the maps on the page are of: { medium, sentence, instead }
let laying = null; // of the medium that is on its way there
let vocabulary = [];
let answering = null; // the question that is being answered: an AbortController, with its path

const MOST_COMPLETIONS = 8;

// ---------------------------------------------------------------------------------------------- questions

// Ask the server -> its result; what it tells meanwhile is shown. An answer that nobody waits for any more is stopped.
async function asked(path, body, headers, doing) {
  answering?.abort();
  const own = (answering = Object.assign(new AbortController(), { path }));
  tellDoing(doing, true);
  try {
    const response = await fetch(path, { method: "POST", body, headers, signal: own.signal });
    if (!response.ok) throw await failure(response);
    let last = {};
    for await (const told of linesOf(response)) {
      if (own !== answering) return null;
      if (told.waiting) tellDoing(`${doing}: waits, ${told.waiting} before it`, true);
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
  byId("doing").textContent = done ? `${doing}: ${done} of ${total}` : doing;
  if (done) Object.assign(byId("progress"), { max: total, value: done });
}

// ---------------------------------------------------------------------------------------------- a medium

async function lay(file) {
  const own = (laying = {});
  byId("asking").hidden = true; // its captions are those of what was there before
  const found = await asked("/media", file, { "X-Name": encodeURIComponent(file.name) }, `looking at ${file.name}`);
  if (own !== laying) return;
  byId("asking").hidden = !laid;
  if (!found) return;
  const response = await fetch(`/media/${found.id}`).catch((error) => error), content = response.ok && (await response.blob());
  if (own !== laying) return; // another one has been chosen meanwhile
  if (!content) { tellError(response instanceof Error ? response : await failure(response)); return; }
  await showLaid(found, content);
  byId("instead").value = "";
  await explain(laid.captions[0].sentence);
}

// What lies on the bench, and a file of it that browsers show.
async function showLaid(found, content) {
  [laid, question, data] = [found, null, null];
  remember();
  byId("explanation").hidden = byId("covered").hidden = true;
  delete document.body.dataset.ready;
  showMedium(URL.createObjectURL(content), laid.is_video, laid.medium);
  byId("captions").replaceChildren(...laid.captions.map(({ sentence, score }) => {
    const button = element("button", sentence || "(nothing)");
    button.type = "button";
    button.append(element("small", number(score, 2), "score"));
    button.addEventListener("click", () => {
      byId("instead").value = "";
      explain(sentence);
    });
    return button;
  }));
  byId("asking").hidden = false;
}

// A page that is loaded again, or come back to, goes on where it was.
const remember = () => sessionStorage.setItem("laid", JSON.stringify({ laid, question }));

async function goOn() {
  const { laid: found, question: before } = JSON.parse(sessionStorage.getItem("laid") ?? "{}");
  const response = found && (await fetch(`/media/${found.id}`));
  if (!response?.ok) return;
  await showLaid(found, await response.blob());
  byId("instead").value = before?.instead ?? "";
  await explain(before?.sentence ?? found.captions[0].sentence);
}

// ---------------------------------------------------------------------------------------------- a sentence

async function explain(sentence) {
  byId("near").replaceChildren();
  byId("sentence").value = sentence;
  const isOwn = sentence === laid.captions[0].sentence; // then its own distribution is explained: equation (5)
  const own = { medium: laid.id, sentence: isOwn ? null : sentence, instead: byId("instead").value.trim() || null };
  const start = performance.now(), found = await asked("/explain", JSON.stringify(own), {}, "computing the maps");
  if (!found) return;
  question = own;
  remember();
  uncover();
  laid.captions.forEach((caption, k) => byId("captions").children[k].setAttribute("aria-current", String(caption.sentence === sentence)));
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
  const literally = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const whole = new RegExp(`(?<![\\p{L}\\p{N}])${literally}(?![\\p{L}\\p{N}])`, "giu"); // not a part of another word
  const replaced = (text) => text.normalize().replace(whole, () => known);
  byId("instead").value = replaced(byId("instead").value);
  byId("sentence").focus();
  explain(replaced(byId("sentence").value));
}

function complete() { // the last word, from the vocabulary, whose words come by how often captions have them
  const text = byId("sentence").value, [, before, start] = text.match(/^(.*?)(\S*)$/s);
  const fitting = start ? vocabulary.filter((word) => word.startsWith(start.toLowerCase())) : [];
  byId("completions").replaceChildren(...fitting.slice(0, MOST_COMPLETIONS).map((word) => new Option(before + word)));
}

// ---------------------------------------------------------------------------------------------- covering

let corner = null; // of a rectangle that is being drawn: y, x
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
  corner = state.corner = null;
  if (answering?.path === "/cover") { // nobody waits for it any more
    answering.abort();
    answering = null;
    tellDoing("", false);
  }
  covers.forEach((cover) => (cover.hidden = true));
  byId("changes").replaceChildren();
  byId("uncover").hidden = true;
}

const isCovering = () => document.body.classList.contains("covering");

function between([y1, x1], [y2, x2]) {
  const inside = (share) => Math.min(Math.max(share, 0), 1);
  return [Math.min(y1, y2), Math.min(x1, x2), Math.max(y1, y2), Math.max(x1, x2)].map(inside);
}

async function cover(rectangle) {
  const [top, left, bottom, right] = rectangle;
  const isBusy = answering && answering.path !== "/cover";
  if (isBusy) byId("how").textContent = "First the maps: they are not there yet.";
  if (isBusy || !question || bottom <= top || right <= left) { uncover(); return; }
  drawCover(rectangle);
  byId("uncover").hidden = false;
  const own = question, found = await asked("/cover", JSON.stringify({ ...own, rectangle }), {}, "looking without it");
  if (found && own === question) tellChanges(found);
}

function tellChanges({ captions, words, log_q }) {
  const table = element("table"), body = element("tbody"), head = element("tr");
  for (const title of ["", "before", "covered", "change"]) head.append(element("th", title));
  table.append(element("caption", `log q of the words of “${data.sentence}”, in nats`), body);
  body.append(head);
  const changes = words.map((_, k) => rounded(rounded(log_q[1][k], 2) - rounded(log_q[0][k], 2), 2));
  const most = Math.max(1, ...changes.map(Math.abs));
  words.forEach((word, k) => {
    const line = element("tr"), values = [log_q[0][k], log_q[1][k], changes[k]];
    const sides = [-1, 1].map((sign) => {
      const side = element("td", undefined, sign < 0 ? "share fall" : "share rise");
      side.append(bar((sign * changes[k]) / most));
      return side;
    });
    line.append(element("th", word), ...values.map((value) => element("td", number(value, 2))), ...sides);
    body.append(line);
  });
  const [before, after] = captions.map((caption) => `“${caption}”`);
  const frames = data.is_video ? "It is covered in every frame. " : "";
  const said = before === after ? `The captioner’s own caption stays ${before}.` : `The captioner’s own caption was ${before}, now it is ${after}.`;
  byId("changes").replaceChildren(element("p", `${frames}${said} The maps above are those of the whole picture.`), table);
}

function coverCell() { // the first, then the opposite corner
  if (!Array.isArray(state.cell)) moveCell(0, 0); // the middle one
  if (!state.corner) {
    state.corner = state.cell;
    drawCover(betweenCells());
    byId("how").textContent = "Now the opposite corner: c again.";
    return;
  }
  const rectangle = betweenCells();
  state.corner = null;
  byId("how").textContent = "";
  cover(rectangle);
}

function betweenCells() { // from the first corner to the cell that is pointed at
  const [, , height, width] = view.about.shape, [top, left, bottom, right] = data.box, cells = [state.corner, state.cell];
  const [low, high] = [Math.min, Math.max].map((edge) => [0, 1].map((k) => edge(cells[0][k], cells[1][k])));
  const y = (row) => top + (row / height) * (bottom - top), x = (column) => left + (column / width) * (right - left);
  return [y(low[0]), x(low[1]), y(high[0] + 1), x(high[1] + 1)];
}

// ---------------------------------------------------------------------------------------------- all of it

function listenAlive() {
  byId("time").after(byId("covered"));
  byId("stop").addEventListener("click", () => { answering?.abort(); byId("sentence").focus(); });
  byId("choose").addEventListener("submit", (event) => event.preventDefault());
  byId("file").addEventListener("change", () => {
    const [file] = byId("file").files;
    byId("file").value = ""; // the same one may be chosen again
    if (file) lay(file);
  });
  const hasFiles = (event) => event.dataTransfer.types.includes("Files"); // and not text for the sentence
  document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
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
      if (!isCovering()) return;
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
  byId("covering").addEventListener("click", () => {
    document.body.classList.toggle("covering", !isCovering());
    byId("covering").setAttribute("aria-pressed", String(isCovering()));
    byId("how").textContent = isCovering() ? "Draw a rectangle over the picture; by keyboard: c in one of its cells, c in another." : "";
  });
  byId("uncover").addEventListener("click", () => { uncover(); byId("covering").focus(); });
  byId("picture").addEventListener("keydown", (event) => {
    if (event.key === "c" && !event.ctrlKey && !event.metaKey && !event.altKey) coverCell();
  });
  document.addEventListener("keydown", () => state.corner && Array.isArray(state.cell) && drawCover(betweenCells()));
}

async function startAlive() {
  listenAlive();
  vocabulary = await (await fetch("/words")).json();
  document.body.dataset.alive = "yes";
  await goOn();
}

startAlive();
