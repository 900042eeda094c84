"""Replaced-word detection (after ELECTRA, Clark et al. 2020, arXiv 2003.10555), and its gradients.

The task: which of several words is the true one at a position? Each candidate is the query over
the *other* words of the sentence, and its score says how well the resulting blend predicts it:

    score = (concat(z) @ W_O + c) . x / sqrt(d_model)

with x the candidate's vector. The loss is the cross-entropy of the true word among the
candidates. True and replaced words are treated alike, so the pattern cannot leak the answer.

z is not needed: concat(z) @ W_O . x = sum_h z_h . u_h with u = x @ W_O.T, so

    score = sum_h sum_j pattern[h, j] * (v[h, j] . u[h]) + c . x / sqrt(d_model)

which has two products of the same form, q . k and u . v, with symmetric gradients. Keys are on an
outer axis and candidates on the last, so softmax over few keys runs along long rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.training.heads import Parameters

Ids = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Forward:
    """The forward pass of a batch of sentences with n words and C candidates per position."""

    x: Array  # [batch, n, d_model], the words
    x_c: Array  # [batch, C * n, d_model], the candidates; the first n are the words
    q: Array  # [batch, n_heads, C * n, d_head], scaled by 1 / sqrt(d_head)
    u: Array  # [batch, n_heads, C * n, d_head], x_c @ W_O.T / sqrt(d_model)
    k: Array  # [batch, n_heads, n, d_head]
    v: Array  # [batch, n_heads, n, d_head]
    pattern: Array  # [batch, n_heads, n (keys), C * n]
    contributions: Array  # [batch, n_heads, n (keys), C * n], pattern * (v . u)
    scores: Array  # [batch, C, n], of the candidates


def forward(parameters: Mapping[str, Array], table: Array, candidates: Ids) -> Forward:
    """Score the candidates.

    Args:
        table: Centred and scaled word vectors, [n_types, d_model].
        candidates: Rows of the table, [batch, C, n]; candidates[:, 0] are the sentences.
    """
    p, (batch, n_candidates, n) = parameters, candidates.shape
    d_model, n_heads = p["W_O"].shape[1], p["offset"].shape[1]
    d_inner = len(p["W_O"])
    d_head = d_inner // n_heads
    q_scale, u_scale = d_head**-0.5, d_model**-0.5
    x_c = table[candidates.reshape(batch, -1)]
    x = np.ascontiguousarray(x_c[:, :n])
    # One matrix product for q and u, one for k and v.
    W_qu = np.concatenate([p["W_Q"] * q_scale, p["W_O"].T * u_scale], axis=1)
    qu = _project(x_c, W_qu)
    qu[..., :d_inner] += p["b_Q"] * q_scale
    kv = _project(x, np.concatenate([p["W_K"], p["W_V"]], axis=1))
    kv += np.concatenate([p["b_K"], p["b_V"]])
    (q, u), (k, v) = _split_heads(qu, n_heads, d_head), _split_heads(kv, n_heads, d_head)

    pattern = k @ q.swapaxes(-1, -2)
    pattern += np.tile(p["offset"].T[:, offsets(p["offset"], n)], n_candidates)
    pattern -= pattern.max(axis=2, keepdims=True)
    np.exp(pattern, out=pattern)
    pattern /= pattern.sum(axis=2, keepdims=True)
    contributions = v @ u.swapaxes(-1, -2)
    contributions *= pattern
    scores = contributions.sum(axis=(1, 2)) + x_c @ (p["c"] * u_scale)
    return Forward(
        x=x,
        x_c=x_c,
        q=q,
        u=u,
        k=k,
        v=v,
        pattern=pattern,
        contributions=contributions,
        scores=scores.reshape(batch, n_candidates, n),
    )


def loss_and_gradients(
    parameters: Mapping[str, Array], table: Array, candidates: Ids
) -> tuple[float, Parameters]:
    """Return the cross-entropy of the true words in nats, summed over positions, and its gradients.

    Args:
        table, candidates: See `forward`.
    """
    f = forward(parameters, table, candidates)
    log_p = f.scores - f.scores.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    loss = -float(log_p[:, 0].sum())
    d_scores = np.exp(log_p)
    d_scores[:, 0] -= 1
    return loss, _gradients(parameters, f, d_scores.reshape(len(d_scores), 1, 1, -1))


def _gradients(p: Mapping[str, Array], f: Forward, d_scores: Array) -> Parameters:
    """Backpropagate through `forward`; d_scores is [batch, 1, 1, C * n]. Overwrites f's arrays."""
    d_model, n_heads = p["W_O"].shape[1], p["offset"].shape[1]
    d_inner, n = len(p["W_O"]), f.x.shape[1]
    d_head = d_inner // n_heads
    q_scale, u_scale = d_head**-0.5, d_model**-0.5

    # Softmax: dA = P * (dP - sum_j P dP), with dP = d_scores * (v . u) and worth = P * (v . u).
    d_A = f.contributions
    total = d_A.sum(axis=2, keepdims=True)
    d_A -= f.pattern * total
    d_A *= d_scores
    d_B = f.pattern
    d_B *= d_scores

    d_qu, (d_q, d_u) = _empty_fused_heads(f.x_c, n_heads, d_head)
    np.matmul(d_A.swapaxes(-1, -2), f.k, out=d_q)
    np.matmul(d_B.swapaxes(-1, -2), f.v, out=d_u)
    d_kv, (d_k, d_v) = _empty_fused_heads(f.x, n_heads, d_head)
    np.matmul(d_A, f.q, out=d_k)
    np.matmul(d_B, f.u, out=d_v)

    d_W_qu = f.x_c.reshape(-1, d_model).T @ d_qu.reshape(-1, 2 * d_inner)
    d_W_kv = f.x.reshape(-1, d_model).T @ d_kv.reshape(-1, 2 * d_inner)
    d_b_kv = d_kv.sum(axis=(0, 1))
    d_offset = np.zeros_like(p["offset"])
    d_scores_by_pair = (
        d_A.sum(axis=0).reshape(n_heads, n, -1, n).sum(axis=2)
    )  # [n_heads, n (keys), n]
    np.add.at(d_offset, offsets(d_offset, n), d_scores_by_pair.transpose(1, 2, 0))
    return {
        "W_Q": d_W_qu[:, :d_inner] * q_scale,
        "b_Q": d_qu[..., :d_inner].sum(axis=(0, 1)) * q_scale,
        "W_K": d_W_kv[:, :d_inner],
        "b_K": d_b_kv[:d_inner],
        "W_V": d_W_kv[:, d_inner:],
        "b_V": d_b_kv[d_inner:],
        "W_O": d_W_qu[:, d_inner:].T * u_scale,
        "c": d_scores.reshape(-1) @ f.x_c.reshape(-1, d_model) * u_scale,
        "offset": d_offset,
    }


def offsets(table: Array, n: int) -> Ids:
    """Return the row of the offset table for each pair, [n (keys), n (queries)]."""
    clip = len(table) // 2
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    rows: Ids = np.clip(distance, -clip, clip) + clip
    return rows


def _project(x: Array, W: Array) -> Array:
    """Return x @ W, as one matrix product; numpy would run one per sentence."""
    y: Array = x.reshape(-1, x.shape[-1]) @ W
    return y.reshape(*x.shape[:-1], -1)


def _split_heads(fused: Array, n_heads: int, d_head: int) -> tuple[Array, Array]:
    """Split [batch, n, 2 * n_heads * d_head] into two views of [batch, n_heads, n, d_head]."""
    split = fused.reshape(*fused.shape[:2], 2, n_heads, d_head)
    first_heads, second_heads = split.transpose(2, 0, 3, 1, 4)
    return first_heads, second_heads


def _empty_fused_heads(x: Array, n_heads: int, d_head: int) -> tuple[Array, tuple[Array, Array]]:
    """Return an empty array for two projections of x, and the views of `_split_heads`."""
    fused = np.empty((*x.shape[:2], 2 * n_heads * d_head), x.dtype)
    return fused, _split_heads(fused, n_heads, d_head)
