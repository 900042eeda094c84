/* What is shown, in words. */

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
        `\u2068${data.queries[q].told}\u2069 ${data.words.link} \u2068${data.keys[k].told}\u2069 ${told(w)}`,
    );
    byId("said").textContent = `${name}. ${said.join(", ")}${said.length ? ". " : ""}Select a ${data.pooled ? "block of words" : "word"}.`;
    return;
  }
  const others = state.side === "query" ? data.keys : data.queries;
  const word = (state.side === "query" ? data.queries : data.keys)[state.at].told;
  const strongest = found
    .filter(({ w }) => told(w) !== "0")
    .sort((a, b) => Math.abs(b.w) - Math.abs(a.w))
    .slice(0, TOLD)
    .map(({ other, w }) => `\u2068${others[other].told}\u2069 ${told(w)}`);
  const does = state.side === "query" ? data.words.does : data.words.done;
  byId("said").textContent = `${name}. \u2068${word}\u2069 ${does} ${strongest.join(", ") || "nothing"}.`;
}
