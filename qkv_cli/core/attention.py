"""Attention as data: every intermediate of one attention call, kept.

Shapes have no batch axis; `qkv` looks at one text at a time. A trailing comment
names the axes wherever they change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qkv_cli.core.arrays import BLOCK, N_CORES, Array, Mask, share_out, softmax

Weighting = Literal["softmax", "hard", "linear"]


@dataclass(frozen=True, slots=True)
class AttentionTrace:
    """What one attention sub-layer computed.

    `q` and `k` are what the dot product saw: after any QK-norm and any rotary
    embedding, so `scores` can be recomputed from them.
    """

    q: Array  # [n_heads, n_query, d_head]
    k: Array  # [n_kv_heads, n_key, d_head]
    v: Array  # [n_kv_heads, n_key, d_head]
    bias: Array | None  # [1 or n_heads, n_query, n_key], what was added to the scaled products
    mask: Mask  # [1 or n_heads, n_query, n_key], True where the query can see the key
    scores: Array  # [n_heads, n_query, n_key], -inf where masked
    pattern: Array  # [n_heads, n_query, n_key], what multiplies the values
    z: Array  # [n_heads, n_query, d_head], before W_O


def hard(scores: Array, out: Array | None = None) -> Array:
    """Hard indexing: all the weight to the best key, the first of equals.

    A row in which every key is masked stays all zeros; where the best score is NaN or infinite,
    the weight is NaN, as with softmax.
    """
    pattern = np.empty_like(scores) if out is None else out
    pattern[...] = 0
    best = scores.argmax(axis=-1)[..., None]
    top = np.take_along_axis(scores, best, axis=-1)
    with np.errstate(invalid="ignore"):
        one = np.where(np.isneginf(top), 0, top - top + 1).astype(scores.dtype)
    np.put_along_axis(pattern, best, one, axis=-1)
    return pattern


def linear(scores: Array, out: Array | None = None) -> Array:
    """The scores themselves as weights, 0 where masked: rows sum to anything."""
    pattern = np.empty_like(scores) if out is None else out
    np.copyto(pattern, scores)
    pattern[np.isneginf(scores)] = 0
    return pattern


# From scores to what multiplies the values, into an array that is there: soft indexing, hard
# indexing, none.
WEIGHTINGS: Mapping[Weighting, Callable[[Array, Array], Array]] = {
    "softmax": softmax,
    "hard": hard,
    "linear": linear,
}


def scaled_dot_product_attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    scale: float,
    bias: Array | None = None,
    mask: Mask | None = None,
    softcap: float | None = None,
    weighting: Weighting = "softmax",
) -> AttentionTrace:
    """Attend from every query position to every key position, per head.

    softmax(Q K^T / sqrt(d)) V, Vaswani et al. 2017 (arXiv 1706.03762), equation 1;
    algorithm 4 of Phuong and Hutter 2022 (arXiv 2207.09238).

    Args:
        q: Queries, [n_heads, n_query, d_head].
        k: Keys, [n_kv_heads, n_key, d_head]; n_kv_heads must divide n_heads.
        v: Values, shaped like `k`.
        scale: Multiplies q @ k.T; 1/sqrt(d_head) almost everywhere.
        bias: Added to the scaled products. Carries the mask (-inf) and relative
            positions alike; broadcasts to [n_heads, n_query, n_key].
        mask: Which keys each query can see, [1 or n_heads, n_query, n_key]: what `bias` does not
            make -inf. All, if not given.
        softcap: Squashes the scaled products into (-softcap, softcap), before `bias`:
            softcap tanh(x / softcap), as Gemma 2 does (arXiv 2408.00118).
        weighting: How scores become weights, see `WEIGHTINGS`.
    """
    n_heads, n_kv_heads = len(q), len(k)
    if n_heads % n_kv_heads:
        raise ValueError(
            f"{n_heads} query heads are not a multiple of {n_kv_heads} key/value heads"
        )
    # Grouped-query attention: query head h reads key/value head h // group.
    group = n_heads // n_kv_heads
    k_per_q, v_per_q = (x if group == 1 else x.repeat(group, axis=0) for x in (k, v))
    n_query, n_key, dtype = q.shape[1], k.shape[1], q.dtype
    scores, pattern = (_positions_last(n_heads, n_query, n_key, dtype) for _ in range(2))
    z = _positions_last(n_heads, n_query, v.shape[-1], dtype)

    def attend(heads: slice) -> None:
        found = scores[heads]
        with np.errstate(invalid="ignore"):  # as in `Linear.into`
            np.matmul(q[heads] * dtype.type(scale), k_per_q[heads].swapaxes(-1, -2), out=found)
        if softcap is not None:
            found /= softcap
            np.tanh(found, out=found)
            found *= softcap
        if bias is not None:
            found += bias if len(bias) == 1 else bias[heads]
        WEIGHTINGS[weighting](found, pattern[heads])
        with np.errstate(invalid="ignore"):
            np.matmul(pattern[heads], v_per_q[heads], out=z[heads])

    n_parts = max(N_CORES, scores.size // BLOCK)
    share_out(attend, n_heads, n_parts, scores.size * (q.shape[-1] + v.shape[-1]))
    if mask is None:
        mask = np.broadcast_to(np.True_, (1, n_query, n_key))
    return AttentionTrace(q=q, k=k, v=v, bias=bias, mask=mask, scores=scores, pattern=pattern, z=z)


def _positions_last(n_heads: int, n_query: int, width: int, dtype: np.dtype[Any]) -> Array:
    """Room for [n_heads, n_query, width], queries beside each other in memory: sums over a row
    are then sums of vectors.
    """
    return np.empty((n_heads, width, n_query), dtype).swapaxes(-1, -2)


def split_heads(x: Array, d_head: int) -> Array:
    """[n_pos, n_heads * d_head] -> [n_heads, n_pos, d_head]."""
    return x.reshape(len(x), x.shape[-1] // d_head, d_head).swapaxes(0, 1)


def merge_heads(z: Array) -> Array:
    """[n_heads, n_pos, d_head] -> [n_pos, n_heads * d_head]."""
    return z.swapaxes(0, 1).reshape(z.shape[1], -1)
