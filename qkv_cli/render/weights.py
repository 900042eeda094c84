"""From patterns to levels of ink: masking, pooling of blocks, quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, Mask, float64, largest_indices
from qkv_cli.core.parallel import parallel
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.matrix import row_blocks

Levels = NDArray[np.intp]  # [n_rows, n_columns], the index of the ink; MASKED where there is none
MASKED = -1


def visible_cells(maps: HeadMaps) -> list[Array]:
    """Return the quantity shown of each map, [n_query, n_key], NaN where masked."""
    return [_visible(maps.seen(m)[:], m.mask[:]) for m in maps.maps]


def _visible(amounts: Array, mask: Mask) -> Array:
    return np.where(mask, np.float64(amounts), np.nan)


CellLink = tuple[int, int, float]  # query, key, number


@dataclass(frozen=True, slots=True)
class Survey:
    """What a picture shows of one map."""

    cells: Array  # [n_rows, n_columns], see `pooled`
    has_negative: bool
    links: Sequence[CellLink]  # the strongest, see `strongest_links`


def survey(maps: HeadMaps, m: HeadMap, blocks: tuple[int, int], n_links: int) -> Survey:
    """Read the quantity shown of a map once, block by block.

    Args:
        blocks: The queries and keys that a cell of the picture covers.
        n_links: The number of strongest links to find.
    """
    matrix, by_value = maps.seen(m), maps.shown == "scores"
    row_slices = list(row_blocks(matrix))
    shape = [-(-n // size) for n, size in zip(matrix.shape, blocks, strict=True)]
    cells = np.full(shape, np.nan)
    strongest = _StrongestLinks(n_links, by_value=by_value)
    lock = Lock()

    def read(rows: slice) -> None:
        amounts, mask = matrix[rows], m.mask[rows]
        extremes = _pooled_visible(amounts, mask, (1, blocks[1]), by_value=by_value)
        of_block = pooled(extremes, (blocks[0], 1), rows.start)
        first = rows.start // blocks[0]
        with lock:  # a cell may cover rows of several blocks
            covered = cells[first : first + len(of_block)]
            covered[:] = of_block if len(row_slices) == 1 else _furthest(covered, of_block)
        if n_links:
            strongest.add(rows, amounts, mask, extremes)

    if len(row_slices) == 1:
        read(*row_slices)
    else:
        parallel(read, row_slices)
    return Survey(
        cells=cells,
        has_negative=by_value or bool((cells < 0).any()),
        links=[x for x in strongest.links if not by_value or x[2] > strongest.least],
    )


class _StrongestLinks:
    """The strongest links of the blocks of rows that were read so far, in any order."""

    def __init__(self, n: int, *, by_value: bool) -> None:
        self.n, self.by_value = n, by_value
        self.links: list[CellLink] = []  # the strongest first; of equal ones the first in the map
        self.least = np.inf  # the least score
        self._lock = Lock()

    def add(self, rows: slice, amounts: Array, mask: Mask, extremes: Array) -> None:
        """Add the links of a block.

        Args:
            amounts, mask: [n_rows, n_key].
            extremes: `amounts`, pooled by keys.
        """
        if self.by_value:
            strength = np.where(mask, amounts, -np.inf).max(axis=1)
            least = float(np.where(mask, amounts, np.inf).min())
        else:
            strength, least = np.nan_to_num(np.abs(extremes), nan=-np.inf).max(axis=1), np.inf
        strong = self._strong_rows(rows.start, strength)
        visible = _visible(amounts[strong], mask[strong])
        of_block = strongest_links(visible, self.n, by_value=self.by_value, keep_least=True)
        links = [(rows.start + int(strong[q]), k, x) for q, k, x in of_block]
        with self._lock:
            self.least = min(self.least, least)
            self.links = sorted([*self.links, *links], key=self._order)[: self.n]

    def _order(self, link: CellLink) -> tuple[float, int, int]:
        query, key, x = link
        return -self._rank(x), query, key

    def _rank(self, x: float) -> float:
        return x if self.by_value else abs(x)

    def _strong_rows(self, start: int, strength: Array) -> NDArray[np.intp]:
        """Return the rows of a block that can have one of the n strongest links.

        Args:
            start: The first row of the block.
            strength: The strongest number of each row, [n_rows]; -inf if all are masked.
        """
        can_enter = strength > -np.inf
        if len(links := self.links) == self.n:
            last, _, x = links[-1]
            can_enter &= (strength > self._rank(x)) | ((strength == self._rank(x)) & (last > start))
        if self.n < len(strength):
            can_enter &= strength >= np.partition(strength, -self.n)[-self.n]
        return np.flatnonzero(can_enter)


def strongest_links(
    weights: Array, n: int, *, by_value: bool = False, keep_least: bool = False
) -> list[CellLink]:
    """Return the n strongest weights, [n_query, n_key], the first of equal ones first.

    Args:
        by_value: Scores are ranked by value, without the least one; other numbers by magnitude,
            without zeros.
        keep_least: Keep the least score, for a block of a map.
    """
    rank = weights
    if by_value and not np.isnan(weights).all():
        rank = weights - np.nanmin(weights) + keep_least
    places = (divmod(i, weights.shape[1]) for i in largest_indices(rank, n))
    return [(q, k, float(weights[q, k])) for q, k in places]


def largest(shown: Sequence[Array]) -> float:
    """Return the largest magnitude in any map; 0 if all cells are masked."""
    return max((float(np.nanmax(np.abs(w))) for w in shown if not np.isnan(w).all()), default=0.0)


def pooled(weights: Array, blocks: tuple[int, int], first_row: int = 0) -> Array:
    """Return the weight furthest from 0 in each block of queries x keys; NaN if all are NaN.

    Args:
        first_row: The first row of `weights` in a larger map, which blocks are counted from.
    """
    if blocks == (1, 1):
        return weights
    absent = np.isnan(weights)
    maxima = _reduce(np.maximum, np.where(absent, -np.inf, weights), blocks, first_row)
    least = _reduce(np.minimum, np.where(absent, np.inf, weights), blocks, first_row)
    extremes: Array = np.where(maxima >= -least, maxima, least)
    return np.where(np.isinf(extremes), np.nan, extremes)


def _furthest(a: Array, b: Array) -> Array:
    """Return the number further from 0 in each cell, the positive one of equal ones."""
    is_b = np.isnan(a) | (np.abs(b) > np.abs(a)) | ((np.abs(b) == np.abs(a)) & (b > a))
    return np.where(is_b, b, a)


def pooled_visible(maps: HeadMaps, blocks: tuple[int, int]) -> list[Array]:
    """Return `pooled` of `visible_cells`, without holding every weight."""
    return [survey(maps, m, blocks, 0).cells for m in maps.maps]


def _pooled_visible(
    amounts: Array, mask: Mask, blocks: tuple[int, int], *, by_value: bool
) -> Array:
    """Return `pooled` in double precision; masked scores are -inf, other masked numbers 0."""
    if by_value:
        return pooled(_visible(amounts, mask), blocks)
    return float64(_pooled_head(amounts, mask, blocks))


def _pooled_head(amounts: Array, mask: Mask, blocks: tuple[int, int]) -> Array:
    """Pool one head; masked numbers are 0, so they are never the largest of a block."""
    extremes = _reduce(np.maximum, amounts, blocks)
    if amounts.min() < 0:
        least = _reduce(np.minimum, amounts, blocks)
        extremes = np.where(extremes >= -least, extremes, least)
    return np.where(_reduce(np.logical_or, mask, blocks), extremes, np.nan)


def _reduce(
    ufunc: np.ufunc, weights: NDArray[Any], blocks: tuple[int, int], first_row: int = 0
) -> NDArray[Any]:
    for axis, size in enumerate(blocks):
        if size > 1:
            offset = 0 if axis else first_row % size
            starts = np.maximum(np.arange(-offset, weights.shape[axis], size), 0)
            weights = ufunc.reduceat(weights, starts, axis=axis)
    return weights


def levels(weights: Array, top: float, n_inks: int, zero: int) -> Levels:
    """Return the index of each weight's ink: `zero` for 0, the last for `top`."""
    steps = (n_inks - 1 - zero) / top if top else 0.0
    ink_numbers = np.rint(np.nan_to_num(weights) * steps).astype(np.intp) + zero
    return np.where(np.isnan(weights), MASKED, np.clip(ink_numbers, 0, n_inks - 1))
