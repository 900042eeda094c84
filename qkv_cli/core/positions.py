"""Position schemes: masks, biases, rotary embeddings and disentangled attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.attention import split_heads

if TYPE_CHECKING:
    from qkv_cli.core.layers import Linear


def causal_mask(n: int, window: int | None = None) -> Mask:
    """Return the causal mask, [1, n, n]: True where key j is query i or before it.

    Args:
        window: How many keys a query sees, including itself; None for all.
    """
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    visible: Mask = j <= i if window is None else (j <= i) & (i - j < window)
    return visible[None]


def local_mask(n: int, reach: int) -> Mask:
    """Return a local mask, [1, n, n]: True up to `reach` tokens to either side of the query."""
    visible: Mask = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :]) <= reach
    return visible[None]


def alibi_bias(n_heads: int, n: int) -> Array:
    """ALiBi, [n_heads, n, n]: slope * (j - i) (Press et al. 2021, arXiv 2108.12409, section 3)."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    # For a number of heads that is not a power of two, as in the authors' code.
    slopes += [2 ** (-4 * (2 * h + 1) / power) for h in range(n_heads - power)]
    offset = np.arange(n)[None, :] - np.arange(n)[:, None]
    bias: Array = (np.array(slopes)[:, None, None] * offset).astype(np.float32)
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
    n_exact = n_buckets // 2
    ratio = np.log(np.maximum(distance, 1) / n_exact) / math.log(max_distance / n_exact)
    log_bucket = np.minimum(n_exact + (ratio * (n_buckets - n_exact)).astype(int), n_buckets - 1)
    bucket += np.where(distance < n_exact, distance, log_bucket)
    return table[bucket].transpose(2, 0, 1)


def sinusoids(n: int, rate: Array) -> Array:
    """Sinusoidal positions, [n, 2 * len(rate)]: all sines of position * rate, then all cosines.

    Vaswani et al. 2017 (arXiv 1706.03762), section 3.5, in another order; computed in the
    precision of `rate`.
    """
    angle = np.arange(n, dtype=rate.dtype)[:, None] * rate
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def offset_bias(table: Array, n: int) -> Array:
    """A learned bias per clipped offset, [2 * clip + 1, n_heads] -> [n_heads, n, n].

    Row `clip + o` of the table is for a key o positions to the right of its query; offsets
    beyond the clip share the outermost row (after Shaw et al. 2018,
    arXiv 1803.02155, section 3.2, as a score bias). -inf in the table is a mask, see `offset_mask`.
    """
    bias: Array = _by_offset(table, n)
    return bias


def offset_mask(table: Array, n: int) -> Mask | None:
    """[1 or n_heads, n, n]: False where the table of `offset_bias` is -inf; None if it never is.

    [1, n, n] if the same offsets are masked in all heads, usually the offset 0.
    """
    visible = ~np.isneginf(table)
    if visible.all():
        return None
    if (visible == visible[:, :1]).all():
        visible = visible[:, :1]
    mask: Mask = _by_offset(visible, n)
    return mask


def _by_offset(table: NDArray[Any], n: int) -> NDArray[Any]:
    """[2 * clip + 1, n_heads] -> [n_heads, n, n], a view: each query starts one offset lower."""
    clip = len(table) // 2
    rows = np.clip(np.arange(1 - n, n), -clip, clip) + clip
    return sliding_window_view(table.T[:, rows], n, axis=1)[:, ::-1]


# From the length of a text to radians per position of each pair, [d_rotary / 2].
Frequencies = Callable[[int], Array]


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864)."""

    frequencies: Frequencies
    interleaved: bool = False  # pairs are (2i, 2i + 1), not (i, i + half)
    factor: float = 1.0  # multiplies cos and sin (YaRN's attention factor)

    def __call__(self, x: Array) -> Array:
        """Rotate x, [n_heads, n_pos, d_head]; dimensions beyond the rotated pairs are unchanged."""
        n_pos = x.shape[1]
        inv_freq = self.frequencies(n_pos)
        n_pairs = len(inv_freq)
        angle = np.arange(n_pos, dtype=np.float32)[:, None] * inv_freq  # [n_pos, n_pairs]
        cos, sin = self.factor * np.cos(angle), self.factor * np.sin(angle)
        end = 2 * n_pairs
        first = np.s_[..., 0:end:2] if self.interleaved else np.s_[..., :n_pairs]
        second = np.s_[..., 1:end:2] if self.interleaved else np.s_[..., n_pairs:end]
        rotated = x.copy()
        rotated[first] = x[first] * cos - x[second] * sin
        rotated[second] = x[second] * cos + x[first] * sin
        return rotated


def rope_frequencies(d_rotary: int, theta: float) -> Array:
    """Return the rotary frequencies, [d_rotary / 2], the highest first."""
    exponents = np.arange(0, d_rotary, 2, dtype=np.float32) / np.float32(d_rotary)
    return (1.0 / np.float32(theta) ** exponents).astype(np.float32)


def dynamic_frequencies(
    d_rotary: int, theta: float, factor: float, n: int, n_ctx_original: int
) -> Array:
    """Increase the base if n exceeds `n_ctx_original` (NTK-aware scaling)."""
    n = max(n, n_ctx_original)
    growth = (factor * n / n_ctx_original - (factor - 1)) ** (d_rotary / (d_rotary - 2))
    return rope_frequencies(d_rotary, theta * growth)


def yarn_frequencies(
    d_rotary: int,
    theta: float,
    factor: float,
    n_ctx_original: int,
    *,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> Array:
    """YaRN: divide low frequencies and keep high ones, with a ramp between (arXiv 2309.00071).

    Args:
        n_ctx_original: The context length before the extension.
        beta_fast, beta_slow: Frequencies with more rotations than `beta_fast` within that length
            are kept; those with fewer than `beta_slow` are divided by `factor`.
        truncate: Round the ends of the ramp to whole dimensions.
    """

    def dimension(turns: float) -> float:
        """Return the dimension whose pair makes this many turns within the original context."""
        return d_rotary * math.log(n_ctx_original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(beta_fast), dimension(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d_rotary - 1)
    ramp = (np.arange(d_rotary // 2) - low) / (high - low or 0.001)
    stretched = np.clip(ramp, 0, 1)
    unscaled = rope_frequencies(d_rotary, theta)
    inv_freq: Array = unscaled / factor * stretched + unscaled * (1 - stretched)
    return inv_freq.astype(np.float32)


def llama3_frequencies(
    d_rotary: int, theta: float, factor: float, n_ctx_original: int, *, low: float, high: float
) -> Array:
    """Llama 3.1: scale long wavelengths and keep short ones, with a ramp between.

    Args:
        n_ctx_original: The context length before the extension.
        low, high: Wavelengths above n_ctx_original / low are scaled, and those below
            n_ctx_original / high are kept.
    """
    unscaled = rope_frequencies(d_rotary, theta)
    turns = n_ctx_original * unscaled / (2 * math.pi)  # within the length of training
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    inv_freq: Array = (1 - smooth) * unscaled / factor + smooth * unscaled
    return inv_freq.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Disentangled:
    """Disentangled attention: keys and queries of relative positions.

    He et al. 2021 (DeBERTa, arXiv 2006.03654), section 3.1: a query is compared with
    the key of its distance to each token (content to position), and a key with the query of that
    distance (position to content).
    """

    table: Array  # [2 * span, d_model], a vector for each distance from -span to span - 1
    k: Linear | None  # projects the table to keys; None without content to position
    q: Linear | None  # projects it to queries; None without position to content
    n_buckets: int | None = None  # distances beyond half of it share rows; see `log_buckets`
    max_distance: int = 0

    def __call__(self, q: Array, k: Array) -> Array:
        """Return what is added to q @ k.T before scaling, [n_heads, n_query, n_key]."""
        zeros = np.zeros((len(q), q.shape[1], k.shape[1]), q.dtype)
        return sum(self.terms(q, k).values(), start=zeros)

    def terms(self, q: Array, k: Array) -> dict[str, Array]:
        """Return the two terms: c2p, content to position, and p2c, position to content.

        Args:
            q: Queries, [n_heads, n_query, d_head].
            k: Keys, [n_heads, n_key, d_head].
        """
        rows = self._rows(q.shape[1], k.shape[1])[None]
        first_row = rows.min()  # a short text has few distances
        table, rows = self.table[first_row : rows.max() + 1], rows - first_row
        terms: dict[str, Array] = {}
        if self.k is not None:
            keys = split_heads(self.k(table), q.shape[-1])  # [n_heads, n_distances, d_head]
            terms["c2p"] = np.take_along_axis(q @ keys.swapaxes(-1, -2), rows, axis=2)
        if self.q is not None:
            queries = split_heads(self.q(table), q.shape[-1])
            terms["p2c"] = np.take_along_axis(queries @ k.swapaxes(-1, -2), rows, axis=1)
        return terms

    def _rows(self, n_query: int, n_key: int) -> NDArray[np.intp]:
        """Return the table's row for the distance from key to query, [n_query, n_key]."""
        distance = np.arange(n_query)[:, None] - np.arange(n_key)[None, :]
        if self.n_buckets is not None:
            distance = log_buckets(distance, self.n_buckets, self.max_distance)
        span = len(self.table) // 2
        rows: NDArray[np.intp] = np.clip(distance + span, 0, 2 * span - 1)
        return rows


def log_buckets(distance: NDArray[np.intp], n_buckets: int, max_distance: int) -> NDArray[np.intp]:
    """Map distances to buckets: exact up to half of the buckets, then logarithmic."""
    n_exact = n_buckets // 2
    # In float32, as in training: a distance at a bucket's edge must stay in its bucket.
    clamped = np.maximum(np.abs(distance), n_exact).astype(np.float32)
    ratio = np.log(clamped / np.float32(n_exact)) / np.log(np.float32((max_distance - 1) / n_exact))
    log_bucket = (np.ceil(ratio * np.float32(n_exact - 1)) + n_exact).astype(np.intp)
    return np.where(np.abs(distance) <= n_exact, distance, np.sign(distance) * log_bucket)
