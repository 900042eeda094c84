"""Texts read as written, with their words shuffled, or with shuffled words repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from qkv_cli.core.arrays import Mask
from qkv_cli.core.tokens import Token

OrderName = Literal["as written", "shuffled", "twice", "sampled"]

MAX_REPEATED = 16  # words that are repeated
MAX_SAMPLED = 32  # words of a sample; fewer would not be read faster


def ordinary(tokens: Sequence[Token]) -> Mask:
    """Return which tokens are not special, [n_tokens]."""
    return np.array([not token.special for token in tokens])


def shuffled(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """Shuffle the ordinary tokens; special tokens keep their positions.

    A token keeps its `i`, its index in the text as written.
    """
    places = np.flatnonzero(ordinary(tokens))
    result = list(tokens)
    for place, source in zip(places, rng.permutation(places), strict=True):
        result[place] = tokens[source]
    return result


def sampled(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """Return at most `MAX_SAMPLED` of the ordinary tokens, shuffled, between the special ones."""
    return _framed(tokens, _shuffled_words(tokens, rng)[:MAX_SAMPLED])


def repeated(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """Return at most `MAX_REPEATED` of the ordinary tokens, shuffled, and the same again.

    Only the repetition makes a token predictable, as in the random sequences of Olsson et al.
    2022 (arXiv 2209.11895).
    """
    words = _shuffled_words(tokens, rng)[:MAX_REPEATED]
    return _framed(tokens, [*words, *words])


def _shuffled_words(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    return [token for token in shuffled(tokens, rng) if not token.special]


def _framed(tokens: Sequence[Token], words: Sequence[Token]) -> list[Token]:
    """Return words between the special tokens at the start and at the end of a text."""
    places = np.flatnonzero(ordinary(tokens))
    if not len(places):
        return list(tokens)
    return [*tokens[: places[0]], *words, *tokens[places[-1] + 1 :]]
