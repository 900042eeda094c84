"""The strongest links in words: `L0H3  mango → fruits .62`, or ← where that flows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from qkv_cli.core.arrays import Array
from qkv_cli.render.cells import aligned
from qkv_cli.render.grid import Line
from qkv_cli.render.quantity import QUANTITIES
from qkv_cli.render.weights import number
from qkv_cli.render.words import told_apart
from qkv_cli.views import HeadMaps

LONGEST_WORD = 14
BETWEEN = 3
_NAME, _DIM = Style(bold=True), Style(dim=True)

Link = tuple[str, str, str]  # query, key, weight


def link_lines(maps: HeadMaps, shown: Sequence[Array], links: int, width: int) -> list[Line]:
    """A line for each head, strongest link first, in columns; as many as the width holds."""
    queries, keys = told_apart(maps.queries, LONGEST_WORD), told_apart(maps.keys, LONGEST_WORD)
    rows = [
        [(queries[q], keys[k], number(weights[q, k])) for q, k in strongest(rank, links)]
        for weights, rank in zip(shown, _ranked(maps, shown), strict=True)
    ]
    name = max(cell_len(m.name) for m in maps.maps)
    columns = _columns(rows, width - name - 2)
    arrow = QUANTITIES[maps.shown].link
    return [
        [Segment(aligned(m.name, name + 2), _NAME), *_line(row, columns, arrow)]
        for m, row in zip(maps.maps, rows, strict=True)
        if row
    ]


def _ranked(maps: HeadMaps, shown: Sequence[Array]) -> list[Array]:
    """Of scores the highest are the strongest, of all else what is furthest from zero."""
    if maps.shown != "scores":
        return list(shown)
    return [w if np.isnan(w).all() else w - np.nanmin(w) for w in shown]


def strongest(weights: Array, n: int) -> list[tuple[int, int]]:
    """(query, key) of the n weights that are furthest from zero, without those that are zero."""
    amount = np.nan_to_num(np.abs(weights)).ravel()
    # Sorting all the weights of a long text would take longer than drawing them.
    least = np.partition(amount, -n)[-n] if n < amount.size else 0.0
    candidates = np.flatnonzero((amount >= least) & (amount > 0))
    order = candidates[np.argsort(-amount[candidates], kind="stable")[:n]]
    return [divmod(int(i), weights.shape[1]) for i in order]


def _columns(rows: Sequence[Sequence[Link]], width: int) -> list[tuple[int, ...]]:
    """The widths of query, key and weight in each column that fits."""
    columns: list[tuple[int, ...]] = []
    for nth in range(max(map(len, rows), default=0)):
        links = [row[nth] for row in rows if len(row) > nth]
        columns.append(tuple(max(cell_len(link[part]) for link in links) for part in range(3)))
        width -= sum(columns[-1]) + 4 + BETWEEN * (nth > 0)
        if width < 0 and nth > 0:
            columns.pop()
            break
    return columns


def _line(row: Sequence[Link], columns: Sequence[tuple[int, ...]], arrow: str) -> Line:
    line: Line = []
    for (query, key, weight), widths in zip(row, columns, strict=False):
        if line:
            line.append(Segment(" " * BETWEEN))
        line += [
            Segment(aligned(query, widths[0], right=True)),
            Segment(f" {arrow} ", _DIM),
            Segment(aligned(key, widths[1]) + " "),
            Segment(aligned(weight, widths[2], right=True), _DIM),
        ]
    return line
