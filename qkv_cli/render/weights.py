"""From patterns to levels of ink: masking, pooling of blocks, quantisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, Mask, float64, largest_indices
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
    rank: Callable[[float], float] = float if by_value else abs
    # A cell may cover more rows than are read at once: they wait in `pending`, keys pooled.
    cells: list[Array] = []
    pending: Array | None = None
    links: list[CellLink] = []
    least = np.inf
    for rows in row_blocks(matrix):
        amounts, mask = matrix[rows], m.mask[rows]
        extremes = _pooled_visible(amounts, mask, (1, blocks[1]), by_value=by_value)
        pending = extremes if pending is None else np.concatenate([pending, extremes])
        n_full = len(pending) if rows.stop == len(matrix) else len(pending) // blocks[0] * blocks[0]
        cells.append(pooled(pending[:n_full], (blocks[0], 1)))
        pending = pending[n_full:]
        if not n_links:
            continue
        if by_value:
            strength = np.where(mask, amounts, -np.inf).max(axis=1)
            least = min(least, float(np.where(mask, amounts, np.inf).min()))
        else:
            strength = np.nan_to_num(np.abs(extremes), nan=-np.inf).max(axis=1)
        above = rank(links[-1][2]) if len(links) == n_links else -np.inf
        strong = _strong_rows(strength, n_links, above)
        visible = _visible(amounts[strong], mask[strong])
        of_block = strongest_links(visible, n_links, by_value=by_value, keep_least=True)
        links += [(rows.start + int(strong[q]), k, x) for q, k, x in of_block]
        links.sort(key=lambda link: -rank(link[2]))
        links = links[:n_links]
    pooled_cells = np.concatenate(cells)
    return Survey(
        cells=pooled_cells,
        has_negative=by_value or bool((pooled_cells < 0).any()),
        links=[link for link in links if not by_value or link[2] > least],
    )


def _strong_rows(strength: Array, n: int, above: float) -> NDArray[np.intp]:
    """Return the rows that can have one of the n strongest links.

    Args:
        strength: The strongest number of each row, [n_rows]; -inf if all are masked.
        above: The strength of the last of n links of earlier rows; -inf if they are fewer.
    """
    weakest = np.partition(strength, -n)[-n] if n < len(strength) else -np.inf
    return np.flatnonzero((strength >= weakest) & (strength > above))


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


def pooled(weights: Array, blocks: tuple[int, int]) -> Array:
    """Return the weight furthest from 0 in each block of queries x keys; NaN if all are NaN."""
    if blocks == (1, 1):
        return weights
    absent = np.isnan(weights)
    maxima = _reduce(np.maximum, np.where(absent, -np.inf, weights), blocks)
    least = _reduce(np.minimum, np.where(absent, np.inf, weights), blocks)
    extremes: Array = np.where(maxima >= -least, maxima, least)
    return np.where(np.isinf(extremes), np.nan, extremes)


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


def _reduce(ufunc: np.ufunc, weights: NDArray[Any], blocks: tuple[int, int]) -> NDArray[Any]:
    for axis, size in enumerate(blocks):
        if size > 1:
            starts = np.arange(0, weights.shape[axis], size)
            weights = ufunc.reduceat(weights, starts, axis=axis)
    return weights


def levels(weights: Array, top: float, n_inks: int, zero: int) -> Levels:
    """Return the index of each weight's ink: `zero` for 0, the last for `top`."""
    steps = (n_inks - 1 - zero) / top if top else 0.0
    ink_numbers = np.rint(np.nan_to_num(weights) * steps).astype(np.intp) + zero
    return np.where(np.isnan(weights), MASKED, np.clip(ink_numbers, 0, n_inks - 1))
