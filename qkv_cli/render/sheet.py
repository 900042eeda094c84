"""How large the thumbnails of all heads may be, and how many stand beside each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

LARGEST = 32  # columns of a thumbnail
ENLARGED = 16  # columns up to which a short text's cells are enlarged
LINES = 28  # of thumbnails, for which heads take a second band where that shows more
MAX_SCALE = 4


@dataclass(frozen=True, slots=True)
class Sheet:
    """The measures of a grid of thumbnails, in terminal cells.

    Attributes:
        across: Thumbnails beside each other; further heads stand in bands below.
        tile: Columns of a thumbnail and of its name.
        gap: Columns between two.
        gutter: Columns of the layers' names, the space behind them included.
        blocks: Queries x keys that are pooled into one cell.
        scale: Columns of a cell.
    """

    across: int
    tile: int
    gap: int
    gutter: int
    blocks: tuple[int, int]
    scale: int


def sheet(
    *,
    n_heads: int,
    n_query: int,
    n_key: int,
    name: int,
    gutter: int,
    width: int,
    n_layers: int = 1,
    half_blocks: bool = True,
) -> Sheet:
    """As many heads beside each other as there are, if their names fit; fewer if few lines hold
    them all and each then shows more of its map, or shows it larger.

    Args:
        name: Columns of the longest name of a head, its mark included.
        half_blocks: Whether two rows can share a line.
    """
    room = max(name, width - gutter)
    fitting = max(1, (room + 1) // (name + 1))
    fewest = -(-n_heads // fitting)
    best = _in_bands(fewest, n_heads, n_query, n_key, name, room)
    for bands in range(fewest + 1, n_heads + 1):
        larger = _in_bands(bands, n_heads, n_query, n_key, name, room)
        rows = -(-n_query // larger.blocks[0])
        lines = -(-rows * larger.scale // 2) if half_blocks else rows * -(-larger.scale // 2)
        if bands * (n_layers * (1 + lines) + 1) > LINES:
            break
        if (larger.blocks, -larger.scale) < (best.blocks, -best.scale):
            best = larger
    return replace(best, gutter=gutter)


def _in_bands(bands: int, n_heads: int, n_query: int, n_key: int, name: int, room: int) -> Sheet:
    across = -(-n_heads // bands)
    each = (room + 1) // across - 1
    gap = 2 if each > name else 1
    tile = min(LARGEST, (room + gap) // across - gap)
    blocks = -(-n_query // tile), -(-n_key // tile)
    scale = max(1, min(MAX_SCALE, min(tile, ENLARGED) // max(n_query, n_key)))
    columns = max(name, scale * -(-n_key // blocks[1]))
    return Sheet(across, columns, gap, 0, blocks, scale)
