"""Position schemes: what is added to scores for where a query and a key stand."""

from __future__ import annotations

import numpy as np

from qkv_cli.core.arrays import Array


def causal_bias(n: int) -> Array:
    """[1, n, n]: 0 where query i may see key j, -inf where it may not."""
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    return np.where(j <= i, 0.0, -np.inf).astype(np.float32)[None]


def offset_bias(table: Array, n: int) -> Array:
    """A learned bias per clipped offset, [2 * clip + 1, n_heads] -> [n_heads, n, n].

    Row `clip + o` of the table is for a key that stands o places to the right of its
    query; offsets beyond the clip share the outermost row (after Shaw et al. 2018,
    arXiv 1803.02155, section 3.2, as a score bias). A row of -inf is a mask.
    """
    clip = len(table) // 2
    offset = np.arange(n)[None, :] - np.arange(n)[:, None]
    bias: Array = table.T[:, np.clip(offset, -clip, clip) + clip]
    return bias
