/* The map's names, and its row and column that are looked at. */

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
