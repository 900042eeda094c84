"""How large the thumbnails of all heads may be, and how many stand beside each other."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 32  # columns of a thumbnail
ENLARGED = 16  # columns up to which a short text's cells are enlarged
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


def sheet(*, n_heads: int, n_query: int, n_key: int, name: int, gutter: int, width: int) -> Sheet:
    """As many heads beside each other as there are, if their names fit.

    Args:
        name: Columns of the longest name of a head, its mark included.
    """
    room = max(name, width - gutter)
    fitting = max(1, (room + 1) // (name + 1))
    bands = -(-n_heads // fitting)
    across = -(-n_heads // bands)
    each = (room + 1) // across - 1
    gap = 2 if each > name else 1
    tile = min(LARGEST, (room + gap) // across - gap)
    blocks = -(-n_query // tile), -(-n_key // tile)
    scale = max(1, min(MAX_SCALE, min(tile, ENLARGED) // max(n_query, n_key)))
    columns = max(name, scale * -(-n_key // blocks[1]))
    return Sheet(across, columns, gap, gutter, blocks, scale)
