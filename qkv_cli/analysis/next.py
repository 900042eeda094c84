"""Predictions of the next token: probabilities, ranks, and the effect of an ablation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMaps


@dataclass(frozen=True, slots=True)
class Odds:
    """The most likely tokens of one run, or of two: before and after an ablation.

    Attributes:
        ids: The most likely tokens before, then those that are most likely only after.
        probability, rank: [n_runs, n_ids]; the most likely token has rank 1.
        rest: [n_runs], the total probability of all other tokens.
        n_tokens: The size of the vocabulary.
        divergence: KL(before || after) in bits, over the whole vocabulary.
    """

    ids: Sequence[int]
    probability: Array
    rank: NDArray[np.intp]
    rest: Array
    n_tokens: int
    divergence: float | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """The predicted next tokens of a text."""

    about: HeadMaps  # the model, the text and the ablation, without maps
    tokens: Sequence[Token]  # one for each of the odds' ids
    odds: Odds


def odds(logits: Array, top: int) -> Odds:
    """Return the `top` most likely tokens of each run.

    Args:
        scores: Logits, [1 or 2, d_vocab]: of one run, or before and after an ablation.
    """
    logs = log_probabilities(logits)
    p = np.exp(logs)
    order = np.argsort(-p, axis=-1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(1, order.shape[1] + 1)[None], axis=-1)
    ids = [int(id) for id in dict.fromkeys(order[:, :top].ravel().tolist())]
    rest_probability = np.delete(p, ids, axis=1).sum(axis=1)
    divergence = kl_divergence(*logs) if len(logs) == 2 else None
    return Odds(
        ids=ids,
        probability=p[:, ids],
        rank=rank[:, ids],
        rest=rest_probability,
        n_tokens=p.shape[1],
        divergence=divergence,
    )


def log_probabilities(logits: Array) -> Array:
    """Return log(softmax(scores)) over the last axis, in double precision."""
    x = np.asarray(logits, np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    logs: Array = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return logs


def kl_divergence(log_p: Array, log_q: Array) -> float:
    """Return KL(before || after) = sum p log2(p / q) in bits, from log-probabilities, [d_vocab]."""
    bits = float((np.exp(log_p) * (log_p - log_q)).sum() / np.log(2))
    return max(0.0, bits)
