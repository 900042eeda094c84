"""From patterns to levels of ink: masking, pooling of blocks, quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.maps.head_maps import HeadMaps

Levels = NDArray[np.intp]  # [n_rows, n_columns], the index of the ink; MASKED where there is none
MASKED = -1


def visible_cells(maps: HeadMaps) -> list[Array]:
    """Return the quantity shown of each map, [n_query, n_key], NaN where masked."""
    return [np.where(m.mask, np.float64(maps.seen(m)), np.nan) for m in maps.maps]


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
    """Return `pooled` of `visible_cells`, without copying every weight."""
    if maps.shown == "scores":
        return [pooled(weights, blocks) for weights in visible_cells(maps)]
    return [_pooled_head(maps.seen(m), m.mask, blocks) for m in maps.maps]


def _pooled_head(amounts: Array, mask: Mask, blocks: tuple[int, int]) -> Array:
    """Pool one head; masked numbers are 0, so they are never the largest of a block."""
    extremes = _reduce(np.maximum, amounts, blocks)
    if amounts.min() < 0:
        least = _reduce(np.minimum, amounts, blocks)
        extremes = np.where(extremes >= -least, extremes, least)
    return np.where(_reduce(np.logical_or, mask, blocks), extremes, np.nan)


def _reduce(ufunc: np.ufunc, weights: NDArray[Any], blocks: tuple[int, int]) -> NDArray[Any]:
    for axis, size in enumerate(blocks):
        weights = ufunc.reduceat(weights, np.arange(0, weights.shape[axis], size), axis=axis)
    return weights


def levels(weights: Array, top: float, n_inks: int, zero: int) -> Levels:
    """Return the index of each weight's ink: `zero` for 0, the last for `top`."""
    steps = (n_inks - 1 - zero) / top if top else 0.0
    ink_numbers = np.rint(np.nan_to_num(weights) * steps).astype(np.intp) + zero
    return np.where(np.isnan(weights), MASKED, np.clip(ink_numbers, 0, n_inks - 1))
