"use strict";

/* The weights, and the colours they are drawn in. */

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const nQuery = data.queries.length; // or the blocks of queries, of a text whose maps are pooled
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
