/* Everything is put in its place, and listened to. */

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
  document.body.classList.toggle("pooled", data.pooled);
  if (one) {
    byId("who-looks").textContent = "queries and keys";
    byId("keys").parentElement.hidden = true;
  }
  if (!window.DecompressionStream) {
    byId("said").textContent =
      "This browser cannot decompress the weights: use Chrome 80, Firefox 113, Safari 16.4 or later.";
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
    byId("cell").textContent = `${data.queries[q].told} ${data.words.link} ${data.keys[k].told}  ${masked(q, k) ? "–" : told(weight(q, k))}`;
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
