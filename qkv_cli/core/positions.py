"""Position schemes: masks, biases, rotary embeddings and disentangled attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, Mask, Rows, largest_magnitude
from qkv_cli.core.attention import KEPT, split_heads

if TYPE_CHECKING:
    from qkv_cli.core.layers import Linear


class OffsetBias:
    """What is added to the scores of self-attention, and what is masked; see `attention.Bias`.

    All of it depends only on the offset from query to key, so it is held as one number for each
    offset, and any block of rows is a view of them.

    Attributes:
        values: [1 or n_heads, 2 n - 1], for the offsets 1 - n to n - 1; -inf where masked.
        visible: [1 or n_heads, 2 n - 1], False where masked.
        n: The number of tokens, which are the keys.
        first: The first query; those before it are left out.
    """

    def __init__(self, values: Array, visible: Mask, n: int, first: int = 0) -> None:
        self.values, self.visible, self.n, self.first = values, visible, n, first

    def block(self, heads: slice, rows: Rows) -> Array:
        """Return the bias of some queries to all keys, [1 or n_heads, n_rows, n]."""
        is_whole = isinstance(rows, slice) and rows == slice(None) and not self.first
        if is_whole and len(self.values) * self.n * self.n <= KEPT:
            return _of_heads(self._whole, heads)
        return self._rows(self.values, heads, rows)

    def mask(self, heads: slice, rows: Rows) -> Mask:
        """Return which keys some queries can see, [1 or n_heads, n_rows, n]."""
        return self._rows(self.visible, heads, rows)

    def largest(self) -> float:
        """Return the largest magnitude that is not masked; infinity or NaN if there is one."""
        visible = np.broadcast_to(self.visible, self.values.shape)
        return float(np.abs(self.values[visible]).max(initial=0))

    def of_head(self, head: int) -> OffsetBias:
        """Return the bias of one head."""
        heads = slice(head, head + 1)
        values, visible = _of_heads(self.values, heads), _of_heads(self.visible, heads)
        return OffsetBias(values, visible, self.n, self.first)

    def of_last_query(self) -> OffsetBias:
        """Return the bias of the last token, as the only query."""
        return OffsetBias(self.values, self.visible, self.n, self.n - 1)

    @cached_property
    def _whole(self) -> Array:
        """The bias of a short text, [1 or n_heads, n, n], which several layers read."""
        whole = self._rows(self.values, slice(None), slice(None))
        # Match the memory layout of scores.
        return np.ascontiguousarray(whole.swapaxes(-1, -2)).swapaxes(-1, -2)

    def _rows(self, by_offset: NDArray[Any], heads: slice, rows: Rows) -> NDArray[Any]:
        """[n_heads, 2 n - 1] -> [n_heads, n_rows, n], a view: each query starts one lower."""
        windows = sliding_window_view(_of_heads(by_offset, heads), self.n, axis=1)
        return windows[:, ::-1][:, self.first :][:, rows]


def _of_heads(x: NDArray[Any], heads: slice) -> NDArray[Any]:
    return x if len(x) == 1 else x[heads]


def offsets(n: int) -> NDArray[np.intp]:
    """Return the offsets from query to key in a text of n tokens, [2 n - 1]."""
    return np.arange(1 - n, n)


def causal_mask(n: int, window: int | None = None) -> Mask:
    """Return the causal mask by offset, [1, 2 n - 1]: True for keys up to the query itself.

    Args:
        window: How many keys a query sees, including itself; None for all.
    """
    offset = offsets(n)
    visible: Mask = offset <= 0 if window is None else (offset <= 0) & (-offset < window)
    return visible[None]


def local_mask(n: int, reach: int) -> Mask:
    """Return a local mask by offset, [1, 2 n - 1]: True up to `reach` tokens to either side."""
    visible: Mask = np.abs(offsets(n)) <= reach
    return visible[None]


def alibi_bias(n_heads: int, n: int) -> Array:
    """ALiBi by offset, [n_heads, 2 n - 1]: slope * offset (Press et al. 2021, arXiv 2108.12409)."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    # For a number of heads that is not a power of two, as in the authors' code.
    slopes += [2 ** (-4 * (2 * h + 1) / power) for h in range(n_heads - power)]
    bias: Array = (np.array(slopes)[:, None] * offsets(n)).astype(np.float32)
    return bias


def bucket_bias(table: Array, n: int, *, two_sided: bool, max_distance: int) -> Array:
    """A learned bias per bucket of distances, [n_buckets, n_heads] -> [n_heads, 2 n - 1].

    Raffel et al. 2020 (T5, arXiv 1910.10683), section 2.1. A decoder's buckets are one-sided.
    """
    n_buckets = len(table)
    offset = offsets(n)
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
    return table[bucket].T


def clipped_offset_bias(table: Array, n: int) -> Array:
    """A learned bias per clipped offset, [2 * clip + 1, n_heads] -> [n_heads, 2 n - 1].

    Row `clip + o` of the table is for a key o positions to the right of its query; offsets
    beyond the clip share the outermost row (after Shaw et al. 2018,
    arXiv 1803.02155, section 3.2, as a score bias). -inf in the table is a mask.
    """
    clip = len(table) // 2
    bias: Array = table.T[:, np.clip(offsets(n), -clip, clip) + clip]
    return bias


def sinusoids(n: int, rate: Array) -> Array:
    """Sinusoidal positions, [n, 2 * len(rate)]: all sines of position * rate, then all cosines.

    Vaswani et al. 2017 (arXiv 1706.03762), section 3.5, in another order; computed in the
    precision of `rate`.
    """
    angle = np.arange(n, dtype=rate.dtype)[:, None] * rate
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


# From the length of a text to radians per position of each pair, [d_rotary / 2].
Frequencies = Callable[[int], Array]


@dataclass(frozen=True, slots=True)
class Rotary:
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
        first = np.s_[..., 0 : 2 * n_pairs : 2] if self.interleaved else np.s_[..., :n_pairs]
        second = (
            np.s_[..., 1 : 2 * n_pairs : 2]
            if self.interleaved
            else np.s_[..., n_pairs : 2 * n_pairs]
        )
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
    """Increase the base for texts longer than those of training (NTK-aware scaling)."""
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
    """YaRN: low frequencies are divided, high ones kept, with a ramp between (arXiv 2309.00071)."""

    def dimension(turns: float) -> float:
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
    """Llama 3.1: scale wavelengths above n_known / low, keep those below n_known / high."""
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

    def of(self, q: Array, k: Array) -> DisentangledBias:
        """Return the terms of queries and keys, [n_heads, n_query or n_key, d_head]."""
        n_query, n_key, d_head = q.shape[1], k.shape[1], q.shape[-1]
        ends = self.rows(np.array([0, n_query - 1]), np.array([n_key - 1, 0]))
        first, last = int(ends[0, 0]), int(ends[1, 1])  # a short text has few distances
        table = self.table[first : last + 1]
        return DisentangledBias(
            relative=self,
            first=first,
            q=q,
            k=k,
            position_keys=None if self.k is None else split_heads(self.k(table), d_head),
            position_queries=None if self.q is None else split_heads(self.q(table), d_head),
        )

    def rows(self, queries: NDArray[np.intp], keys: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the table's row for the distance from each key to each query, [n_query, n_key]."""
        distance = queries[:, None] - keys[None, :]
        if self.n_buckets is not None:
            distance = log_buckets(distance, self.n_buckets, self.max_distance)
        span = len(self.table) // 2
        rows: NDArray[np.intp] = np.clip(distance + span, 0, 2 * span - 1)
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DisentangledBias:
    """The position terms of disentangled attention for one text."""

    relative: Disentangled
    first: int  # the first row of the table that the text uses
    q: Array  # [n_heads, n_query, d_head]
    k: Array  # [n_heads, n_key, d_head]
    position_keys: Array | None  # [n_heads, n_distances, d_head]
    position_queries: Array | None  # [n_heads, n_distances, d_head]

    def largest(self) -> float:
        """Return a bound for the magnitude of what `block` returns; infinity or NaN if unknown."""
        products = ((self.q, self.position_keys), (self.k, self.position_queries))
        bounds = (largest_magnitude(a) * largest_magnitude(b) for a, b in products if b is not None)
        return float(self.q.shape[-1] * sum(bounds))

    def of_head(self, head: int) -> DisentangledBias:
        """Return the terms of one head."""
        heads = slice(head, head + 1)
        keys, queries = self.position_keys, self.position_queries
        return replace(
            self,
            q=self.q[heads].copy(),
            k=self.k[heads].copy(),
            position_keys=None if keys is None else keys[heads],
            position_queries=None if queries is None else queries[heads],
        )

    def block(self, heads: slice, rows: Rows) -> Array:
        """Return what is added to q @ k.T before scaling, [n_heads, n_rows, n_key]."""
        n_heads, n_rows, _ = self.q[heads, rows].shape
        none = np.zeros((n_heads, n_rows, self.k.shape[1]), self.q.dtype)
        return sum(self.terms(heads, rows).values(), start=none)

    def terms(self, heads: slice, rows: Rows) -> dict[str, Array]:
        """Return the terms [n_heads, n_rows, n_key]: c2p, content to position; p2c, the reverse."""
        n_query, n_key = self.q.shape[1], self.k.shape[1]
        index = self.relative.rows(np.arange(n_query)[rows], np.arange(n_key))[None] - self.first
        terms: dict[str, Array] = {}
        if self.position_keys is not None:
            products = self.q[heads, rows] @ self.position_keys[heads].swapaxes(-1, -2)
            terms["c2p"] = np.take_along_axis(products, index, axis=2)
        if self.position_queries is not None:
            products = self.position_queries[heads] @ self.k[heads].swapaxes(-1, -2)
            terms["p2c"] = np.take_along_axis(products, index, axis=1)
        return terms


def log_buckets(distance: NDArray[np.intp], n_buckets: int, max_distance: int) -> NDArray[np.intp]:
    """Map distances to buckets: exact up to half of the buckets, then logarithmic."""
    exact = n_buckets // 2
    # In float32, as in training: a distance at a bucket's edge must stay in its bucket.
    far = np.maximum(np.abs(distance), exact).astype(np.float32)
    ratio = np.log(far / np.float32(exact)) / np.log(np.float32((max_distance - 1) / exact))
    beyond = (np.ceil(ratio * np.float32(exact - 1)) + exact).astype(np.intp)
    return np.where(np.abs(distance) <= exact, distance, np.sign(distance) * beyond)
