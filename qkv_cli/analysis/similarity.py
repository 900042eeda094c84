"""How alike two lists of weights are."""

from __future__ import annotations

import numpy as np

from qkv_cli.core.arrays import Array


def jensen_shannon(a: Array, b: Array) -> Array:
    """Divergence of each row of a from that of b, in bits: 0 for the same, 1 for nothing shared.

    (KL(a || m) + KL(b || m)) / 2 with m = (a + b) / 2, rows scaled to sum to 1 (Lin 1991,
    "Divergence Measures Based on the Shannon Entropy"); nan for a row without weight.
    """
    total_a, total_b = a.sum(axis=-1), b.sum(axis=-1)
    empty = (total_a <= 0) | (total_b <= 0)
    a, b = (x / np.where(empty, 1.0, x.sum(axis=-1))[..., None] for x in (a, b))
    middle = (a + b) / 2
    found: Array = (_kl(a, middle) + _kl(b, middle)) / 2
    return np.where(empty, np.nan, found)


def _kl(a: Array, b: Array) -> Array:
    """Kullback-Leibler divergence of each row in bits; 0 log 0 is 0."""
    ratio = np.divide(a, b, out=np.ones_like(a), where=a > 0)
    found: Array = (a * np.log2(ratio)).sum(axis=-1)
    return found


def cosine(a: Array, b: Array) -> float:
    """Of two lists of numbers; nan if one is all zeros."""
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length else float("nan")


def pearson(a: Array, b: Array) -> float:
    """Correlation of two lists of numbers; nan if one is flat."""
    if not a.size or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return cosine(a - a.mean(), b - b.mean())
