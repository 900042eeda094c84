"""Scaled dot-product attention, with every intermediate array kept.

For one head, attention is

    scores  = q @ k.T * scale + bias      # [n_query, n_key], bias -inf where masked
    pattern = softmax(scores)             # each row sums to 1
    z       = pattern @ v                 # [n_query, d_head]

There is no batch axis: a run reads one text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.parallel import empty_queries_last, matmul, share_out_heads
from qkv_cli.names import Weighting


@dataclass(frozen=True, slots=True)
class AttentionTrace:
    """Everything that one attention sub-layer computed.

    `q` and `k` are those of the dot product, after any norm and rotary embedding.
    """

    q: Array  # [n_heads, n_query, d_head]
    k: Array  # [n_kv_heads, n_key, d_head]
    v: Array  # [n_kv_heads, n_key, d_head]
    bias: Array | None  # [1 or n_heads, n_query, n_key], what was added to the scaled products
    mask: Mask  # [1 or n_heads, n_query, n_key], True where the query can see the key
    scores: Array  # [n_heads, n_query, n_key], -inf where masked
    pattern: Array  # [n_heads, n_query, n_key], the weights of the values
    z: Array  # [n_heads, n_query, d_head], before W_O and before any ablation


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
    pattern = np.empty_like(scores) if out is None else out
    pattern[...] = 0
    best = scores.argmax(axis=-1)[..., None]
    best_score = np.take_along_axis(scores, best, axis=-1)
    with np.errstate(invalid="ignore"):
        weight = np.where(np.isneginf(best_score), 0, best_score - best_score + 1).astype(
            scores.dtype
        )
    np.put_along_axis(pattern, best, weight, axis=-1)
    return pattern


def linear(scores: Array, out: Array | None = None) -> Array:
    """Use the scores themselves as weights, and 0 where masked; rows do not sum to 1."""
    pattern = np.empty_like(scores) if out is None else out
    np.copyto(pattern, scores)
    pattern[np.isneginf(scores)] = 0
    return pattern


# Functions from scores to the pattern, which is written to the second argument.
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
        scale: Multiplies q @ k.T; 1 / sqrt(d_head) in most models.
        bias: Added to the scaled products. Contains the mask (-inf) and relative
            positions; broadcasts to [n_heads, n_query, n_key].
        mask: Which keys each query can see, [1 or n_heads, n_query, n_key]; all by default. It is
            only recorded in the trace: `bias` must be -inf where it is False.
        softcap: Squashes the scaled products into (-softcap, softcap), before `bias`:
            softcap tanh(x / softcap), as Gemma 2 does (arXiv 2408.00118).
        weighting: How scores become weights, see `WEIGHTINGS`.
    """
    n_heads, n_query, n_key = len(q), q.shape[1], k.shape[1]
    k_per_head, v_per_head = repeat_kv_heads(k, n_heads), repeat_kv_heads(v, n_heads)
    scores, pattern = (empty_queries_last(n_heads, n_query, n_key, q.dtype) for _ in range(2))
    z = empty_queries_last(n_heads, n_query, v.shape[-1], q.dtype)

    def attend(heads: slice) -> None:
        s = matmul(
            q[heads] * q.dtype.type(scale), k_per_head[heads].swapaxes(-1, -2), out=scores[heads]
        )
        if softcap is not None:
            soft_cap(s, softcap)
        if bias is not None:
            s += bias if len(bias) == 1 else bias[heads]
        WEIGHTINGS[weighting](s, pattern[heads])
        matmul(pattern[heads], v_per_head[heads], out=z[heads])

    share_out_heads(attend, scores, q.shape[-1] + v.shape[-1])
    if mask is None:
        mask = np.broadcast_to(np.True_, (1, n_query, n_key))
    return AttentionTrace(q=q, k=k, v=v, bias=bias, mask=mask, scores=scores, pattern=pattern, z=z)


def repeat_kv_heads(x: Array, n_heads: int) -> Array:
    """Repeat keys or values: [n_kv_heads, n_key, d_head] -> [n_heads, n_key, d_head].

    In grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245), query head h uses key/value
    head h // (n_heads / n_kv_heads).
    """
    n_kv_heads = len(x)
    if n_heads % n_kv_heads:
        raise ValueError(
            f"{n_heads} query heads are not a multiple of {n_kv_heads} key/value heads"
        )
    return x if n_heads == n_kv_heads else x.repeat(n_heads // n_kv_heads, axis=0)


def soft_cap(x: Array, cap: float) -> None:
    """Squash numbers into (-cap, cap), in place: cap tanh(x / cap) (arXiv 2408.00118)."""
    x /= cap
    np.tanh(x, out=x)
    x *= cap


def split_heads(x: Array, d_head: int) -> Array:
    """Split heads: [n_pos, n_heads * d_head] -> [n_heads, n_pos, d_head]."""
    return x.reshape(len(x), x.shape[-1] // d_head, d_head).swapaxes(0, 1)


def merge_heads(z: Array) -> Array:
    """Concatenate heads: [n_heads, n_pos, d_head] -> [n_pos, n_heads * d_head]."""
    return z.swapaxes(0, 1).reshape(z.shape[1], -1)
