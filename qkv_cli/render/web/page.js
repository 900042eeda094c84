"use strict";

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const nQuery = data.queries.length;
const nKey = data.keys.length;
const scheme = matchMedia("(prefers-color-scheme: dark)");
const SVG = "http://www.w3.org/2000/svg";
const TOLD = 5; // links that are told
const LABELLED = 48; // words up to which the map names its rows and columns

// What is looked at: a map, and a row (query) or a column (key), which may be pinned.
const state = { map: 0, ...data.start };
let one = false; // a long text that looks at itself stands once
let bytes; // [n_map, n_query, n_key], each weight in steps of its map
let tables; // a colour for each of 255 steps, as bytes, for maps of either kind

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function step(query, key, map = state.map) {
  return bytes[(map * nQuery + query) * nKey + key];
}

function masked(query, key) {
  return step(query, key) === data.masked;
}

function weight(query, key) {
  const m = data.maps[state.map];
  return masked(query, key) ? 0 : (step(query, key) - m.zero) * m.step;
}

// A number as qkv prints it, in so many decimals: .62, 1.0, -.31.
function number(w, decimals = 2) {
  const amount = Math.abs(w);
  const text = w.toFixed(amount >= 9.95 ? 0 : amount >= 0.995 ? Math.min(1, decimals) : decimals);
  return /[1-9]/.test(text) ? text.replace("0.", ".") : "0";
}

// A weight in as many decimals as its map's steps are worth.
function told(w) {
  return number(w, Math.min(3, Math.max(0, Math.floor(-Math.log10(data.maps[state.map].step)))));
}

/* Colours */

function readColours() {
  const dark = data.theme === "auto" ? scheme.matches : data.theme === "dark";
  tables = {};
  for (const [kind, codes] of Object.entries(data.colours[dark ? "dark" : "light"])) {
    tables[kind] = codes.map((code) => [0, 2, 4].map((at) => parseInt(code.slice(at, at + 2), 16)));
  }
}

function colour(value, map) {
  const m = data.maps[map];
  const table = tables[m.signed ? "signed" : "plain"];
  const last = table.length - 1;
  const share = m.top ? ((value - m.zero) * m.step) / m.top : 0; // of what the last colour stands for
  const at = m.signed ? ((share + 1) / 2) * last : share * last;
  return table[Math.min(last, Math.max(0, Math.round(at)))];
}

function onTopOf([r, g, b]) {
  const linear = (c) => (c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
  return light / 0.05 >= 1.05 / light ? "#000" : "#fff";
}

/* Maps on canvases */

function paint(canvas, map, block) {
  const height = Math.ceil(nQuery / block);
  const width = Math.ceil(nKey / block);
  canvas.width = width;
  canvas.height = height;
  const zero = data.maps[map].zero;
  const most = new Int16Array(width * height).fill(-1);
  for (let q = 0, at = map * nQuery * nKey; q < nQuery; q++) {
    const line = Math.floor(q / block) * width;
    for (let k = 0; k < nKey; k++, at++) {
      const cell = line + Math.floor(k / block);
      const value = bytes[at];
      const further = most[cell] < 0 || Math.abs(value - zero) > Math.abs(most[cell] - zero);
      if (value !== data.masked && further) most[cell] = value;
    }
  }
  const inks = Array.from({ length: 255 }, (_, value) => colour(value, map));
  const image = new ImageData(width, height);
  most.forEach((value, cell) => {
    if (value >= 0) image.data.set([...inks[value], 255], cell * 4);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function paintBar() {
  const bar = byId("bar");
  const m = data.maps[state.map];
  const table = tables[m.signed ? "signed" : "plain"];
  bar.width = table.length;
  bar.height = 1;
  const image = new ImageData(table.length, 1);
  table.forEach((rgb, at) => image.data.set([...rgb, 255], at * 4));
  bar.getContext("2d").putImageData(image, 0, 0);
  byId("low").textContent = m.signed ? number(-m.top) : "0";
  byId("high").textContent = number(m.top);
}

/* Words */

function makeTokens(list, tokens, side) {
  tokens.forEach((token, at) => {
    const element = document.createElement("span");
    element.className = "token";
    element.classList.toggle("special", Boolean(token.special));
    element.classList.toggle("second", Boolean(token.second));
    element.textContent = token.text;
    element.dir = "auto";
    element.id = `${side}-${at}`;
    element.setAttribute("role", "option");
    element.setAttribute("aria-selected", "false");
    list.append(element, " ");
    element.addEventListener("pointerenter", () => hover(side, at));
    element.addEventListener("click", () => pin(side, at));
  });
  list.addEventListener("pointerleave", () => hover(null, null));
  // A click leaves the arrows to the heads; the keyboard comes here with Tab.
  list.addEventListener("mousedown", (event) => event.preventDefault());
  list.addEventListener("focus", () => state.pinned || show(side, state.side === side ? state.at : 0));
  list.addEventListener("keydown", (event) => moveAmongWords(event, side, tokens.length));
}

function moveAmongWords(event, side, length) {
  const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  const at = state.side === side ? state.at : -1;
  if (by) show(side, Math.min(length - 1, Math.max(0, at + by)), state.pinned);
  else if (event.key === "Home") show(side, 0, state.pinned);
  else if (event.key === "End") show(side, length - 1, state.pinned);
  else if ((event.key === "Enter" || event.key === " ") && at >= 0) pin(side, at);
  else return;
  event.preventDefault();
  event.stopPropagation();
  byId(`${side}-${state.at}`)?.scrollIntoView({ block: "nearest" });
}

function hover(side, at) {
  if (!state.pinned) show(side, at);
}

function pin(side, at) {
  const again = state.pinned && state.side === side && state.at === at;
  show(side, at, !again);
}

function show(side, at, pinned = false) {
  Object.assign(state, { side, at, pinned });
  shade();
}

// The weights of what is active: its row, or its column.
function links() {
  if (state.side === "query") {
    return data.keys.map((_, k) => ({ q: state.at, k, other: k, w: weight(state.at, k) }));
  }
  if (state.side === "key") {
    return data.queries.map((_, q) => ({ q, k: state.at, other: q, w: weight(q, state.at) }));
  }
  return [];
}

function listOf(side) {
  return byId(side === "query" || one ? "queries" : "keys");
}

function shade() {
  const found = links();
  for (const list of [byId("queries"), byId("keys")]) {
    const looking = state.side !== null && listOf(state.side) === list;
    const shaded = state.side !== null && listOf(state.side === "query" ? "key" : "query") === list;
    [...list.children].forEach((element, at) => {
      const link = shaded ? found[at] : undefined;
      const rgb = link && !masked(link.q, link.k) ? colour(step(link.q, link.k), state.map) : null;
      element.style.backgroundColor = rgb ? `rgb(${rgb})` : "";
      element.style.color = rgb ? onTopOf(rgb) : "";
      element.classList.toggle("shaded", rgb !== null);
      const active = looking && state.at === at;
      element.classList.toggle("active", active);
      element.classList.toggle("pinned", active && state.pinned);
      element.setAttribute("aria-selected", String(active));
    });
    if (looking) list.setAttribute("aria-activedescendant", `${state.side}-${state.at}`);
    else list.removeAttribute("aria-activedescendant");
  }
  drawLines();
  markMap();
  tell(found);
}

// Lines stand for weights: from every query, or those of the active word.
function drawLines() {
  const svg = byId("lines");
  svg.replaceChildren();
  if (!document.body.classList.contains("lines")) return;
  const box = svg.getBoundingClientRect();
  const height = (side, at) => {
    const word = byId(`${side}-${at}`).getBoundingClientRect();
    return word.top + word.height / 2 - box.top;
  };
  const ys = [
    data.queries.map((_, q) => height("query", q)),
    data.keys.map((_, k) => height("key", k)),
  ];
  const top = data.maps[state.map].top || 1;
  for (let q = 0; q < nQuery; q++) {
    for (let k = 0; k < nKey; k++) {
      const share = Math.abs(weight(q, k)) / top;
      const off = state.side === "query" ? q !== state.at : state.side === "key" && k !== state.at;
      if (share < 0.04 || off) continue;
      const path = document.createElementNS(SVG, "path");
      const [from, to, middle] = [ys[0][q], ys[1][k], box.width / 2];
      path.setAttribute("d", `M2 ${from}C${middle} ${from} ${middle} ${to} ${box.width - 2} ${to}`);
      path.setAttribute("fill", "none");
      path.setAttribute("stroke", `rgb(${colour(step(q, k), state.map)})`);
      path.setAttribute("stroke-width", String(0.8 + 2.6 * share));
      path.setAttribute("stroke-opacity", String(state.side ? 0.95 : 0.25 + 0.6 * share));
      svg.append(path);
    }
  }
}

/* The map */

function makeAxes() {
  const labelled = Math.max(nQuery, nKey) <= LABELLED;
  for (const [id, tokens, edge] of [["rows", data.queries, "top"], ["columns", data.keys, "left"]]) {
    byId(id).hidden = !labelled;
    if (!labelled) continue;
    tokens.forEach((token, at) => {
      const element = document.createElement("span");
      element.textContent = token.text.length > 16 ? `${token.text.slice(0, 15)}…` : token.text;
      element.classList.toggle("second", Boolean(token.second));
      element.style[edge] = `${((at + 0.5) / tokens.length) * 100}%`;
      byId(id).append(element);
    });
  }
  if (!labelled) return;
  const longest = (id, size) =>
    Math.max(...[...byId(id).children].map((one) => one.getBoundingClientRect()[size]));
  byId("columns").style.height = `${longest("columns", "height") + 6}px`;
  byId("rows").style.width = `${longest("rows", "width") + 8}px`;
}

function markMap() {
  for (const [id, side, n, edge, size] of [
    ["row", "query", nQuery, "top", "height"],
    ["column", "key", nKey, "left", "width"],
  ]) {
    const active = state.side === side;
    byId(id).style.display = active ? "block" : "none";
    if (active) {
      byId(id).style[edge] = `${(state.at / n) * 100}%`;
      byId(id).style[size] = `${100 / n}%`;
    }
    [...byId(`${id}s`).children].forEach((element, at) => {
      element.classList.toggle("active", active && at === state.at);
    });
  }
}

function overMap(event) {
  const box = byId("cells").getBoundingClientRect();
  const q = Math.floor(((event.clientY - box.top) / box.height) * nQuery);
  const k = Math.floor(((event.clientX - box.left) / box.width) * nKey);
  return [Math.min(nQuery - 1, Math.max(0, q)), Math.min(nKey - 1, Math.max(0, k))];
}

/* Heads */

function makeThumbnails() {
  byId("heads").hidden = data.maps.length === 1;
  const layers = [...new Set(data.maps.map((m) => m.layer))];
  const rows = layers.map((layer) => data.maps.flatMap((m, at) => (m.layer === layer ? [at] : [])));
  const several = layers.length > 1;
  const longest = Math.max(...rows.map((row) => row.length));
  const across = several ? longest : Math.min(4, longest);
  const side = Math.min(84, Math.max(20, Math.floor(490 / across) - 6));
  const box = byId("thumbnails");
  box.style.gridTemplateColumns = `${several ? "auto " : ""}repeat(${across}, ${side}px)`;
  const named = (text) => {
    const name = document.createElement("span");
    name.textContent = text;
    box.append(name);
  };
  if (several) {
    named("");
    for (let at = 0; at < across; at++) named(rows.every((r) => data.maps[r[0]].head === 0) ? at : "");
  }
  rows.forEach((row, line) => {
    if (several) named(`L${layers[line]}`);
    row.forEach((map) => box.append(thumbnail(map, !several)));
    for (let at = row.length; several && at < across; at++) named("");
  });
}

function thumbnail(map, captioned) {
  const button = document.createElement("button");
  button.id = `map-${map}`;
  const { name, signs } = data.maps[map];
  button.title = `${name} ${signs}`;
  button.dataset.signs = signs;
  button.setAttribute("role", "radio");
  button.setAttribute("aria-label", `${name} ${signs}`);
  button.append(document.createElement("canvas"));
  button.addEventListener("click", () => choose(map));
  if (!captioned) return button;
  const figure = document.createElement("div");
  const caption = document.createElement("span");
  caption.textContent = name;
  figure.append(button, caption);
  return figure;
}

function paintThumbnails() {
  if (data.maps.length === 1) return;
  const block = Math.ceil(Math.max(nQuery, nKey) / 64);
  data.maps.forEach((_, map) => paint(byId(`map-${map}`).firstChild, map, block));
}

function choose(map) {
  state.map = map;
  const m = data.maps[map];
  byId("name").textContent = m.name;
  byId("cells").setAttribute("aria-label", `Weights of ${m.name}, ${nQuery} queries by ${nKey} keys`);
  data.maps.forEach((_, at) => {
    const button = byId(`map-${at}`);
    button?.setAttribute("aria-checked", String(at === map));
    if (button) button.tabIndex = at === map ? 0 : -1;
  });
  paint(byId("cells"), map, 1);
  paintBar();
  shade();
}

function moveAmongHeads(event) {
  if (event.key === "Escape") return show(null, null);
  if (event.altKey || event.ctrlKey || event.metaKey) return undefined;
  const layers = [...new Set(data.maps.map((m) => m.layer))];
  const here = data.maps[state.map];
  let to = null;
  if (event.key === "ArrowLeft") to = state.map - 1;
  else if (event.key === "ArrowRight") to = state.map + 1;
  else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    const layer = layers[layers.indexOf(here.layer) + (event.key === "ArrowUp" ? -1 : 1)];
    const row = data.maps.flatMap((m, at) => (m.layer === layer ? [at] : []));
    const before = data.maps.slice(0, state.map).filter((m) => m.layer === here.layer).length;
    if (row.length) to = row[Math.min(before, row.length - 1)];
    else if (layers.length > 1) to = state.map;
  }
  if (to === null) return undefined;
  event.preventDefault();
  choose(Math.min(data.maps.length - 1, Math.max(0, to)));
  byId(`map-${state.map}`)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (document.activeElement?.closest("#thumbnails")) byId(`map-${state.map}`).focus();
  return undefined;
}

/* In words */

// Of the whole map, the furthest from 0 first.
function strongestLinks() {
  const { zero } = data.maps[state.map];
  const found = [];
  for (let q = 0, at = state.map * nQuery * nKey; q < nQuery; q++) {
    for (let k = 0; k < nKey; k++, at++) {
      const amount = bytes[at] === data.masked ? 0 : Math.abs(bytes[at] - zero);
      const last = found.length < TOLD ? 0 : found[TOLD - 1].amount;
      if (amount <= last) continue;
      found.push({ q, k, amount, w: weight(q, k) });
      found.sort((a, b) => b.amount - a.amount);
      found.length = Math.min(found.length, TOLD);
    }
  }
  return found;
}

function tell(found) {
  const name = data.maps[state.map].name;
  if (!found.length) {
    const said = strongestLinks().map(
      ({ q, k, w }) =>
        `\u2068${data.queries[q].text}\u2069 ${data.words.link} \u2068${data.keys[k].text}\u2069 ${told(w)}`,
    );
    byId("said").textContent = `${name}. ${said.join(", ")}${said.length ? ". " : ""}Choose a word.`;
    return;
  }
  const others = state.side === "query" ? data.keys : data.queries;
  const word = (state.side === "query" ? data.queries : data.keys)[state.at].text;
  const strongest = found
    .filter(({ w }) => told(w) !== "0")
    .sort((a, b) => Math.abs(b.w) - Math.abs(a.w))
    .slice(0, TOLD)
    .map(({ other, w }) => `\u2068${others[other].text}\u2069 ${told(w)}`);
  const does = state.side === "query" ? data.words.does : data.words.done;
  byId("said").textContent = `${name}. \u2068${word}\u2069 ${does} ${strongest.join(", ") || "nothing"}.`;
}

/* Start */

function repaint() {
  readColours();
  paintThumbnails();
  choose(state.map);
  performance.mark("drawn");
}

async function start() {
  byId("model").textContent = data.model;
  byId("about").textContent = data.about;
  byId("notes").textContent = data.notes;
  document.body.className = Math.max(nQuery, nKey) <= LABELLED ? "lines" : "flow";
  one = data.same && document.body.className === "flow";
  if (one) {
    byId("who-looks").textContent = "who looks, and who is looked at";
    byId("keys").parentElement.hidden = true;
  }
  if (!window.DecompressionStream) {
    byId("said").textContent =
      "This browser cannot unpack the weights: Chrome 80, Firefox 113, Safari 16.4 or newer can.";
    return;
  }
  bytes = await unpacked(byId("weights").textContent);
  makeTokens(byId("queries"), data.queries, "query");
  makeTokens(byId("keys"), data.keys, "key");
  makeAxes();
  makeThumbnails();
  repaint();
  const cells = byId("cells");
  cells.addEventListener("pointermove", (event) => {
    const [q, k] = overMap(event);
    hover("query", q);
    byId("cell").textContent = `${data.queries[q].text} ${data.words.link} ${data.keys[k].text}  ${masked(q, k) ? "–" : told(weight(q, k))}`;
  });
  cells.addEventListener("pointerleave", () => {
    hover(null, null);
    byId("cell").textContent = "";
  });
  cells.addEventListener("click", (event) => pin("query", overMap(event)[0]));
  document.addEventListener("keydown", moveAmongHeads);
  addEventListener("resize", drawLines);
  scheme.addEventListener("change", repaint);
}

start();
