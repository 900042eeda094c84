/* Words, shaded by the row or the column of the one that is active, and lines between them. */

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
