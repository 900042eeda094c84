"""The same words in another order: what a head does by position, and what by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qkv_cli.analysis.kinds import Mask
from qkv_cli.analysis.measure import one_text, patterns, visible_keys
from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.views import HeadMaps

LONGEST = 16  # words that are read twice: enough for a score, and soon read
SAMPLE = 32  # words of a sample: a short reading takes no less time

LEAST = 1e-12  # against division by zero only
LEAST_ROOM = 1e-3  # between chance and all; in less than that, rounding would speak


def shuffled(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """Ordinary tokens in an order of chance, special ones where they were.

    A token keeps its `i`, so that it tells where it stood before.
    """
    places = np.flatnonzero(_words(tokens))
    found = list(tokens)
    for place, drawn in zip(places, rng.permutation(places), strict=True):
        found[place] = tokens[drawn]
    return found


def sampled(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """The same with `SAMPLE` of the ordinary tokens at most, in one piece."""
    return _around(tokens, _drawn(tokens, rng)[:SAMPLE])


def repeated(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """The words of a text twice, in one order of chance, `LONGEST` of them at most.

    In that order no word leads to the next but by repetition, as in the random sequences
    of Olsson et al. 2022.
    """
    words = _drawn(tokens, rng)[:LONGEST]
    return _around(tokens, [*words, *words])


def _drawn(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """The ordinary tokens, in an order of chance."""
    return [token for token in shuffled(tokens, rng) if not token.special]


def _around(tokens: Sequence[Token], words: Sequence[Token]) -> list[Token]:
    """Words between the special tokens that begin and end a text; all of it without words."""
    places = np.flatnonzero(_words(tokens))
    if not len(places):
        return list(tokens)
    return [*tokens[: places[0]], *words, *tokens[places[-1] + 1 :]]


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of a pattern is left when the words change places, to be added up over readings.

    Of two patterns, the smaller weight in each cell is what they have in common.
    """

    common: Array  # [n_heads, 2], on the same places; on the same words
    chance: Array  # [n_heads, 2], the same once the other reading's rows are dealt at random
    whole: Array  # [n_heads, 2], what there would be if nothing had changed

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.common + other.common, self.chance + other.chance, self.whole + other.whole
        )

    def beyond_chance(self, head: int, column: Literal[0, 1]) -> float | None:
        """What is left on the same places (0) or words (1): 0 is chance, 1 all of it.

        None where chance leaves everything: even weights look the same in every order.
        """
        common, chance, whole = (
            float(x[head, column]) for x in (self.common, self.chance, self.whole)
        )
        room = whole - chance
        return (common - chance) / room if room > LEAST_ROOM * whole else None


def overlap(written: HeadMaps, shuffled: HeadMaps, rng: np.random.Generator) -> Overlap:
    """Compare a reading with one of its words in another order.

    Only pairs of two words count, not special tokens, of which one has moved, where both
    readings could see them; a row counts by what it gives to them.
    """
    a, b = patterns(written), patterns(shuffled)
    seen_a, seen_b = visible_keys(written), visible_keys(shuffled)
    # In the shuffled reading a token tells where it stood before.
    rows, columns = (np.array([t.i for t in side]) for side in (shuffled.queries, shuffled.keys))
    places = np.arange(len(rows)), np.arange(len(columns))
    moved = ~np.outer(rows == places[0], columns == places[1])
    moved &= np.outer(_words(written.queries), _words(written.keys))
    if one_text(written):
        np.fill_diagonal(moved, False)  # itself: the same place and the same word
    found = []
    for order in (places, (np.argsort(rows), np.argsort(columns))):
        cells = np.ix_(np.arange(len(b)), *order)
        both = seen_a & seen_b[cells] & moved
        sides = [np.where(both, x, 0.0) for x in (a, b[cells])]
        mass = sum(x.sum(axis=-1) for x in sides) / 2  # [n_heads, n_query]
        # A causal row shares itself among fewer keys the earlier it stands: each sums to 1 here.
        one, other = (x / np.maximum(x.sum(axis=-1, keepdims=True), LEAST) for x in sides)
        pairs = (np.minimum(one, other), np.minimum(one, dealt(other, both, rng)))
        common, chance = (pair.sum(axis=-1) * mass for pair in pairs)
        found.append([x.sum(axis=-1) for x in (common, chance, mass)])
    return Overlap(*(np.stack(columns, axis=-1) for columns in zip(*found, strict=True)))


def dealt(weights: Array, among: Mask, rng: np.random.Generator) -> Array:
    """Each row's weights dealt at random over the cells it may use: equal entropy, no meaning."""
    before = np.argsort(~among, axis=-1, kind="stable")
    after = np.argsort(np.where(among, rng.random(among.shape), 2.0), axis=-1)
    found = np.zeros_like(weights)
    np.put_along_axis(found, after, np.take_along_axis(weights, before, axis=-1), axis=-1)
    return found


def _words(tokens: Sequence[Token]) -> Mask:
    return np.array([not token.special for token in tokens])
