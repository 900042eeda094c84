/* Thumbnails of all maps, and the way from one to the next. */

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
  const size = data.pooled ? `${nQuery} rows by ${nKey} columns` : `${nQuery} queries by ${nKey} keys`;
  byId("cells").setAttribute("aria-label", `Weights of ${m.name}, ${size}`);
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
