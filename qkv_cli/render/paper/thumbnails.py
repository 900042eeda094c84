"""All heads at once on paper: layers down, heads across."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from qkv_cli.render.paper.cells import COLOURS, cells, colour_bar, in_levels
from qkv_cli.render.paper.drawing import INKS, Drawing, Font, Words
from qkv_cli.render.plate import Maps
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import pooled

NAME, LAYER, SIGNS = Font(6.5), Font(7.5, bold=True), Font(7, bold=True)
LEFT, GAP, HEAD = 36.0, 7.0, 10.0
SMALLEST, LARGEST = 34.0, 90.0  # points of a thumbnail's side
MOST = 64  # cells along a side; more could not be told apart
SHAPES = 40_000  # small as they are, shapes stay sharp where pixels blur


def draw_thumbnails(drawing: Drawing, part: Maps, theme: Theme, room: float) -> Iterator[str]:
    """Append a thumbnail for each map; what their notes must say besides comes back."""
    inks = INKS[theme.background]
    colours = theme.colours(signed=part.signed, n=COLOURS)
    heads = sorted({-1 if p.head is None else p.head for p in part.panels})
    layers = list(dict.fromkeys(p.layer for p in part.panels))
    n = max(len(part.queries), len(part.keys))
    block = ceil(n / MOST)
    tile = min(LARGEST, max(SMALLEST, (room - LEFT) / len(heads) - GAP))
    side = tile / ceil(n / block)
    shapes = len(part.panels) * ceil(n / block) ** 2 <= SHAPES
    for panel in part.panels:
        x = LEFT + heads.index(-1 if panel.head is None else panel.head) * (tile + GAP)
        y = drawing.height + layers.index(panel.layer) * (tile + HEAD + 4) + HEAD
        name = "mean" if panel.head is None else f"H{panel.head}"
        drawing.add(Words(x, y - 2.5, name, NAME, inks.dim))
        drawing.add(Words(x + tile, y - 2.5, panel.signs, SIGNS, inks.text, "right"))
        level = in_levels(pooled(panel.weights, (block, block)), part)
        drawing.items += cells(level, colours, side, x, y, shapes=shapes)
    for row, layer in enumerate(layers):
        y = drawing.height + row * (tile + HEAD + 4) + HEAD + tile / 2 + 3
        drawing.add(Words(LEFT - 8, y, f"L{layer}", LAYER, inks.text, "right"))
    drawing.height += len(layers) * (tile + HEAD + 4) + 2
    drawing.width = max(drawing.width, LEFT + len(heads) * (tile + GAP) - GAP)
    if part.top:
        colour_bar(drawing, part, colours, theme, LEFT)
    yield "layers down, heads across; rows (queries) attend to columns (keys)"
    if block > 1:
        furthest = "the largest in magnitude" if part.signed else "the largest"
        yield f"each cell is {furthest} of {block}x{block} weights"
