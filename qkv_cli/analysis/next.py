"""Which token comes next: probabilities, ranks, and how far an ablation moves them."""

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
    """The likeliest tokens in one reading, or in two: before an ablation, and after.

    Attributes:
        ids: The likeliest before, then those that are among the likeliest after only.
        probability, rank: [n_reading, n_ids]; the likeliest of all has rank 1.
        rest: [n_reading], of all other tokens together.
        n_tokens: Of the vocabulary.
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
    """What may follow a text."""

    about: HeadMaps  # no maps: the model, the text, and what was taken away
    tokens: Sequence[Token]  # one for each of the odds' ids
    odds: Odds


def odds(scores: Array, top: int) -> Odds:
    """The `top` likeliest of each reading.

    Args:
        scores: [1 or 2, d_vocab].
    """
    logs = log_probabilities(scores)
    p = np.exp(logs)
    order = np.argsort(-p, axis=-1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(1, order.shape[1] + 1)[None], axis=-1)
    ids = [int(id) for id in dict.fromkeys(order[:, :top].ravel().tolist())]
    rest = np.delete(p, ids, axis=1).sum(axis=1)
    apart = kl_divergence(*logs) if len(logs) == 2 else None
    return Odds(ids, p[:, ids], rank[:, ids], rest, p.shape[1], apart)


def log_probabilities(scores: Array) -> Array:
    """The logarithm of softmax, in double precision."""
    x = np.asarray(scores, np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    logs: Array = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return logs


def kl_divergence(before: Array, after: Array) -> float:
    """KL(before || after) = sum p log2(p / q), in bits, from the logarithms of both."""
    bits = float((np.exp(before) * (before - after)).sum() / np.log(2))
    return max(0.0, bits)
