"""Position schemes: which keys a query can see, and what is added to their scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, Mask


def causal_mask(n: int, window: int | None = None) -> Mask:
    """[1, n, n]: True where query i can see key j, which is i or before it.

    Args:
        window: How many keys a query sees, itself among them; None for all before it.
    """
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    visible: Mask = j <= i if window is None else (j <= i) & (i - j < window)
    return visible[None]


def local_mask(n: int, reach: int) -> Mask:
    """[1, n, n]: True up to `reach` tokens to either side of the query."""
    distance: Mask = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :]) <= reach
    return distance[None]


def alibi_bias(n_heads: int, n: int) -> Array:
    """[n_heads, n, n]: -slope * distance (Press et al. 2021, arXiv 2108.12409, section 3)."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    # Their code fills up a number of heads that is no power of two like this.
    slopes += [2 ** (-4 * (2 * h + 1) / power) for h in range(n_heads - power)]
    distance = np.arange(n)[None, :] - np.arange(n)[:, None]
    bias: Array = (np.array(slopes)[:, None, None] * distance).astype(np.float32)
    return bias


def bucket_bias(table: Array, n: int, *, two_sided: bool, max_distance: int) -> Array:
    """A learned bias per bucket of distances, [n_buckets, n_heads] -> [n_heads, n, n].

    Raffel et al. 2020 (T5, arXiv 1910.10683), section 2.1. A decoder's buckets are one-sided.
    """
    n_buckets = len(table)
    offset = np.arange(n)[None, :] - np.arange(n)[:, None]
    bucket = np.zeros_like(offset)
    if two_sided:
        n_buckets //= 2
        bucket += (offset > 0) * n_buckets
        distance = np.abs(offset)
    else:
        distance = np.maximum(-offset, 0)
    # Half the buckets are exact distances; the rest grow logarithmically.
    exact = n_buckets // 2
    ratio = np.log(np.maximum(distance, 1) / exact) / math.log(max_distance / exact)
    far = np.minimum(exact + (ratio * (n_buckets - exact)).astype(int), n_buckets - 1)
    bucket += np.where(distance < exact, distance, far)
    return table[bucket].transpose(2, 0, 1)


def sinusoids(n: int, rate: Array) -> Array:
    """[n, 2 * len(rate)]: all the sines of position times rate, then all the cosines.

    Vaswani et al. 2017 (arXiv 1706.03762), section 3.5, but for the order; computed in the
    precision of `rate`.
    """
    angle = np.arange(n, dtype=rate.dtype)[:, None] * rate
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def offset_bias(table: Array, n: int) -> Array:
    """A learned bias per clipped offset, [2 * clip + 1, n_heads] -> [n_heads, n, n].

    Row `clip + o` of the table is for a key that stands o places to the right of its
    query; offsets beyond the clip share the outermost row (after Shaw et al. 2018,
    arXiv 1803.02155, section 3.2, as a score bias). -inf in the table is a mask, see `offset_mask`.
    """
    bias: Array = _by_offset(table, n)
    return bias


def offset_mask(table: Array, n: int) -> Mask | None:
    """[1 or n_heads, n, n]: False where the table of `offset_bias` holds -inf; None if it has none.

    [1, n, n] where the same offsets are masked in all heads, as a rule the offset 0.
    """
    visible = ~np.isneginf(table)
    if visible.all():
        return None
    if (visible == visible[:, :1]).all():
        visible = visible[:, :1]
    mask: Mask = _by_offset(visible, n)
    return mask


def _by_offset(table: NDArray[Any], n: int) -> NDArray[Any]:
    """[2 * clip + 1, n_heads] -> [n_heads, n, n], a view: each query begins one offset lower."""
    clip = len(table) // 2
    rows = np.clip(np.arange(1 - n, n), -clip, clip) + clip
    return sliding_window_view(table.T[:, rows], n, axis=1)[:, ::-1]
