"""Scaled dot-product attention, of which every block of rows can be read.

For one head, attention is

    scores  = q @ k.T * scale + bias      # [n_query, n_key], bias -inf where masked
    pattern = softmax(scores)             # each row sums to 1
    z       = pattern @ v                 # [n_query, d_head]

There is no batch axis: a run reads one text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qkv_cli.core.arrays import Array, Mask, Rows
from qkv_cli.core.parallel import empty_queries_last, matmul, parallel, share_out_heads
from qkv_cli.names import Weighting

if TYPE_CHECKING:
    from qkv_cli.core.positions import DisentangledBias

ALL = slice(None)
KEPT = 1 << 23  # cells of a layer's maps that are kept; larger maps are computed in blocks
BLOCK_CELLS = 1 << 21  # cells of a block of a larger map


class Bias(Protocol):
    """What is added to the scaled products, for any block of heads and rows."""

    def block(self, heads: slice, rows: Rows) -> Array:
        """Return a block of the bias, [1 or n_heads, n_rows, n_key]; -inf where masked."""

    def mask(self, heads: slice, rows: Rows) -> Mask:
        """Return a block of the mask, [1 or n_heads, n_rows, n_key]: True where visible."""

    def largest(self) -> float:
        """Return the largest magnitude that is not masked; infinity or NaN if there is one."""

    def of_head(self, head: int) -> Bias:
        """Return the bias of one head."""


@dataclass(frozen=True, kw_only=True)
class AttentionTrace:
    """The attention of one sub-layer, computed when it is read.

    softmax(Q K^T / sqrt(d)) V, Vaswani et al. 2017 (arXiv 1706.03762), equation 1;
    algorithm 4 of Phuong and Hutter 2022 (arXiv 2207.09238).

    The maps of a short text are computed once and kept. Those of a long text would not fit in
    memory; they are computed block by block, whenever a block is read.

    Attributes:
        q, k: As used in the dot product, after any norm and rotary embedding.
        relative: A bias that depends on q and k, added before scaling.
        softcap: Squashes the scaled products into (-softcap, softcap), before `bias`:
            softcap tanh(x / softcap), as Gemma 2 does (arXiv 2408.00118).
    """

    q: Array  # [n_heads, n_query, d_head]
    k: Array  # [n_kv_heads, n_key, d_head]
    v: Array  # [n_kv_heads, n_key, d_head]
    scale: float
    weighting: Weighting = "softmax"
    bias: Bias | None = None
    relative: DisentangledBias | None = None
    softcap: float | None = None
    keeps_maps: bool = True  # few cells are kept, unless many heads are held one by one

    def __post_init__(self) -> None:
        if len(self.q) % len(self.k):
            raise ValueError(
                f"{len(self.q)} query heads are not a multiple of {len(self.k)} key/value heads"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """n_heads, n_query and n_key."""
        return len(self.q), self.q.shape[1], self.k.shape[1]

    @property
    def block_rows(self) -> int:
        """How many rows of one head to read at once."""
        return max(1, BLOCK_CELLS // self.shape[2])

    @property
    def is_kept(self) -> bool:
        """Whether the maps are few enough cells to be kept."""
        return self.keeps_maps and math.prod(self.shape) <= KEPT

    def of_head(self, head: int) -> AttentionTrace:
        """Return the attention of one head, which does not hold the arrays of the others."""
        kv = head // (len(self.q) // len(self.k))
        return replace(
            self,
            q=self.q[head : head + 1].copy(),
            k=self.k[kv : kv + 1].copy(),
            v=self.v[kv : kv + 1].copy(),
            bias=None if self.bias is None else self.bias.of_head(head),
            relative=None if self.relative is None else self.relative.of_head(head),
            keeps_maps=False,
        )

    def scores(self, heads: slice = ALL, rows: Rows = ALL) -> Array:
        """Return scores, [n_heads, n_rows, n_key]: scaled, biased, -inf where masked."""
        return self._kept[0][heads, rows] if self.is_kept else self._scores(heads, rows)

    def pattern(self, heads: slice = ALL, rows: Rows = ALL) -> Array:
        """Return what multiplies the values, [n_heads, n_rows, n_key]; 0 where masked."""
        if self.is_kept:
            return self._kept[1][heads, rows]
        scores = self._scores(heads, rows)
        return WEIGHTINGS[self.weighting](scores, scores)

    def mask(self, heads: slice = ALL, rows: Rows = ALL) -> Mask:
        """Return which keys each query can see, [1 or n_heads, n_rows, n_key]."""
        if self.bias is not None:
            return self.bias.mask(heads, rows)
        n_rows = len(np.arange(self.q.shape[1])[rows])
        return np.broadcast_to(np.True_, (1, n_rows, self.k.shape[1]))

    @cached_property
    def z(self) -> Array:
        """pattern @ v, [n_heads, n_query, d_head], before W_O and before any ablation."""
        if self.is_kept:
            return self._kept[2]
        n_heads, n_query, _ = self.shape
        z = empty_queries_last(n_heads, n_query, self.v.shape[-1], self.q.dtype)
        n_rows = self.block_rows

        def attend(block: tuple[int, int]) -> None:
            head, first = block
            heads, rows = slice(head, head + 1), slice(first, first + n_rows)
            matmul(self.pattern(heads, rows), self._per_head(self.v, heads), out=z[heads, rows])

        parallel(attend, product(range(n_heads), range(0, n_query, n_rows)))
        return z

    @cached_property
    def _kept(self) -> tuple[Array, Array, Array]:
        """The scores, the pattern and z of a short text."""
        n_heads, n_query, n_key = self.shape
        scores, pattern = (
            empty_queries_last(n_heads, n_query, n_key, self.q.dtype) for _ in range(2)
        )
        z = empty_queries_last(n_heads, n_query, self.v.shape[-1], self.q.dtype)

        def attend(heads: slice) -> None:
            self._scores(heads, ALL, out=scores[heads])
            WEIGHTINGS[self.weighting](scores[heads], pattern[heads])
            matmul(pattern[heads], self._per_head(self.v, heads), out=z[heads])

        share_out_heads(attend, scores, self.q.shape[-1] + self.v.shape[-1])
        return scores, pattern, z

    def _scores(self, heads: slice, rows: Rows, out: Array | None = None) -> Array:
        q, k = self.q[heads, rows], self._per_head(self.k, heads)
        if out is None:  # rows of a long text are adjacent: few are computed at once
            out = np.empty((len(q), q.shape[1], k.shape[1]), q.dtype)
        scores = matmul(q * q.dtype.type(self.scale), k.swapaxes(-1, -2), out=out)
        if self.softcap is not None:
            soft_cap(scores, self.softcap)
        if self.relative is not None:
            scores += q.dtype.type(self.scale) * self.relative.block(heads, rows)
        if self.bias is not None:
            scores += self.bias.block(heads, rows)
        return scores

    def _per_head(self, x: Array, heads: slice) -> Array:
        """Return the keys or values of query heads, [n_heads, n_key, d_head].

        Grouped-query attention: query head h uses key/value head h // (n_heads / n_kv_heads).
        """
        n_heads, n_kv_heads = len(self.q), len(x)
        if n_heads == n_kv_heads:
            return x[heads]
        return np.take(x, np.arange(n_heads)[heads] // (n_heads // n_kv_heads), axis=0)


def softmax(x: Array, out: Array | None = None) -> Array:
    """Softmax over the last axis. A row of -inf only becomes all zeros."""
    largest = x.max(axis=-1, keepdims=True)
    e: Array = np.subtract(x, np.where(np.isfinite(largest), largest, x.dtype.type(0)), out=out)
    np.exp(e, out=e)
    total = e.sum(axis=-1, keepdims=True)
    e /= np.where(total == 0.0, x.dtype.type(1), total)
    return e


def hard(scores: Array, out: Array | None = None) -> Array:
    """Hard indexing: give all the weight to the best key, or to the first of equal ones.

    A row whose keys are all masked is all zeros. If the best score is NaN or infinite, its weight
    is NaN, as with softmax.
    """
    best = scores.argmax(axis=-1)[..., None]
    best_score = np.take_along_axis(scores, best, axis=-1)
    with np.errstate(invalid="ignore"):
        weight = np.where(np.isneginf(best_score), 0, best_score - best_score + 1).astype(
            scores.dtype
        )
    pattern = np.empty_like(scores) if out is None else out
    pattern[...] = 0
    np.put_along_axis(pattern, best, weight, axis=-1)
    return pattern


def linear(scores: Array, out: Array | None = None) -> Array:
    """Use the scores themselves as weights, and 0 where masked; rows do not sum to 1."""
    masked = np.isneginf(scores)
    pattern = np.empty_like(scores) if out is None else out
    np.copyto(pattern, scores)
    pattern[masked] = 0
    return pattern


# Functions from scores to the pattern, which is written to the second argument, which may be the
# first.
WEIGHTINGS: Mapping[Weighting, Callable[[Array, Array], Array]] = {
    "softmax": softmax,
    "hard": hard,
    "linear": linear,
}


def soft_cap(x: Array, cap: float) -> None:
    """Squash numbers into (-cap, cap), in place: cap tanh(x / cap) (arXiv 2408.00118)."""
    x /= cap
    np.tanh(x, out=x)
    x *= cap


def split_heads(x: Array, d_head: int) -> Array:
    """[n_pos, n_heads * d_head] -> [n_heads, n_pos, d_head]."""
    return x.reshape(len(x), x.shape[-1] // d_head, d_head).swapaxes(0, 1)


def merge_heads(z: Array) -> Array:
    """[n_heads, n_pos, d_head] -> [n_pos, n_heads * d_head]."""
    return z.swapaxes(0, 1).reshape(z.shape[1], -1)
