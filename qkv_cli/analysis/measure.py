"""Measurements of heads on one text: sums that can be added over texts, and kinds of heads."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.orders import ordinary

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Unit = Literal["row", "reading", "word"]


@dataclass(frozen=True, slots=True)
class Kind:
    """Which keys are meant, and what counts as one piece of evidence.

    Attributes:
        unit: A query's row where each row has a key of its own; a whole reading where all rows
            share the key; a word where a reading twice with the same words says nothing new.
        repeated: Measured where each word has stood before: the words of a text, twice.
    """

    name: str
    about: str
    unit: Unit
    repeated: bool = False


KINDS = (
    Kind("self", "the word itself", "row"),
    Kind("previous", "the previous token", "row"),
    Kind("next", "the next token", "row"),
    Kind("first", "the first token of the text", "reading"),
    Kind("separators", "special tokens that are not the first", "reading"),
    Kind("punctuation", "punctuation marks", "reading"),
    Kind("duplicate", "the same token elsewhere", "word", repeated=True),
    Kind("induction", "the token after an earlier copy", "word", repeated=True),
)
NAMES = tuple(kind.name for kind in KINDS)

Mask = NDArray[np.bool_]


def targets(queries: Sequence[Token], keys: Sequence[Token], *, one_text: bool) -> Mask:
    """Which keys each kind of head looks at from each query, [n_kinds, n_query, n_key].

    Between two texts there is no self, no before and no repetition.
    """
    masks = {name: np.zeros((len(queries), len(keys)), np.bool_) for name in NAMES}
    masks["first"][:, 0] = True
    masks["separators"][:, 1:] = [key.special for key in keys[1:]]
    masks["punctuation"][:] = [is_punctuation(key) for key in keys]
    if one_text:
        n = len(keys)
        ids = np.array([key.id for key in keys])
        same = ids[:, None] == ids
        same &= np.array([not key.special for key in keys])
        for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
            masks[name] = np.eye(n, k=offset, dtype=np.bool_)
        masks["duplicate"] = same & ~masks["self"]
        # Behind the word itself stands the next one: that is no repetition, nor is the word.
        masks["induction"][:, 1:] = same[:, :-1]
        masks["induction"] &= ~(masks["next"] | masks["self"])
    return np.stack([masks[name] for name in NAMES])


def is_punctuation(token: Token) -> bool:
    """Signs only, none of them a letter or a digit (Unicode categories P and S)."""
    text = token.text.strip()
    return bool(text) and all(unicodedata.category(sign)[0] in "PS" for sign in text)


SMALLEST = np.finfo(np.float64).tiny  # 0 times its logarithm is 0

Figures = TypeVar("Figures", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Sums:
    """Over the rows of words, special tokens left out, that had two keys or more to choose from."""

    rows: Array  # [n_heads], how many
    bits: Array  # [n_heads], entropy
    most_bits: Array  # [n_heads], the entropy of even weights over what each row could see
    distance: Array  # [n_heads], in tokens
    targeted: Array  # [n_heads, n_kinds], rows in which some keys were of the kind and some not
    share: Array  # [n_heads, n_kinds], their weight on keys of the kind
    chance: Array  # [n_heads, n_kinds], the same if each row's weights were dealt at random

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Sums)))


def concatenate(parts: Sequence[Figures]) -> Figures:
    """The heads of several layers as one: every array of `Sums` or the like, end to end."""
    names = [f.name for f in fields(parts[0])]
    return type(parts[0])(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def measure(maps: HeadMaps, targets: Mask) -> Sums:
    """Sums over one reading, of one layer or of several. Weights must sum to 1 in each row.

    Dealing a row's weights at random over the keys that it sees makes a random pattern of equal
    entropy; what it is expected to give to keys of a kind is the part of the keys that they are.

    Args:
        targets: [n_kinds, n_query, n_key], see `kinds.targets`.
    """
    visible = visible_keys(maps)
    if (visible != visible[0]).any():
        return concatenate(
            [measure(replace(maps, maps=part), targets) for part in _smaller(maps.maps)]
        )
    visible_cells = visible[0]  # [n_query, n_key], the same for all heads
    n_seen = visible_cells.sum(axis=-1)
    counted = (n_seen > 1) & [not query.special for query in maps.queries]
    target_cells = targets & visible_cells
    of_kind = target_cells.sum(axis=-1)  # [n_kinds, n_query]
    has_both = counted & (of_kind > 0) & (of_kind < n_seen)
    weights = patterns(maps) * counted[:, None]
    cells = weights.reshape(len(weights), -1)  # [n_heads, n_query * n_key]
    heads = np.ones(len(weights))
    return Sums(
        rows=heads * counted.sum(),
        bits=entropy(cells),
        most_bits=heads * np.log2(n_seen[counted]).sum(),
        distance=cells @ distances(maps).ravel(),
        targeted=np.outer(heads, has_both.sum(axis=-1)),
        share=cells
        @ (target_cells & has_both[..., None]).reshape(len(target_cells), -1).T.astype(np.float64),
        chance=np.outer(heads, (has_both * of_kind / np.maximum(n_seen, 1)).sum(axis=-1)),
    )


def _smaller(maps: Sequence[HeadMap]) -> list[list[HeadMap]]:
    """Layer by layer; one layer, head by head."""
    layers = dict.fromkeys(m.layer for m in maps)
    if len(layers) == 1:
        return [[m] for m in maps]
    return [[m for m in maps if m.layer == layer] for layer in layers]


def patterns(maps: HeadMaps) -> Array:
    """[n_heads, n_query, n_key], in double precision."""
    return np.stack([m.pattern for m in maps.maps]).astype(np.float64)


def visible_keys(maps: HeadMaps) -> Mask:
    """Which keys each query can see, [n_heads, n_query, n_key]."""
    return np.stack([m.mask for m in maps.maps])


def entropy(weights: Array) -> Array:
    """Shannon entropy in bits over the last axis; 0 log 0 is 0."""
    logs = np.log2(np.maximum(weights, SMALLEST))
    bits: Array = -(weights * logs).sum(axis=-1)
    return bits


def one_text(maps: HeadMaps) -> bool:
    """Whether a text attends to itself, so that there is a before and a self."""
    return maps.maps[0].block != "cross"


def distances(maps: HeadMaps) -> Array:
    """How many tokens from query to key, [n_query, n_key]; nan between two texts."""
    if not one_text(maps):
        return np.full((len(maps.queries), len(maps.keys)), np.nan)
    place = np.arange(len(maps.queries), dtype=np.float64)
    return np.abs(place[:, None] - place)


EPSILON = 1e-12  # against division by zero only
LEAST_ROOM = 1e-3  # between chance and all; in less than that, rounding would speak


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
    moved &= np.outer(ordinary(written.queries), ordinary(written.keys))
    if one_text(written):
        np.fill_diagonal(moved, False)  # itself: the same place and the same word
    sums = []
    for order in (places, (np.argsort(rows), np.argsort(columns))):
        cells = np.ix_(np.arange(len(b)), *order)
        both = seen_a & seen_b[cells] & moved
        sides = [np.where(both, x, 0.0) for x in (a, b[cells])]
        mass = sum(x.sum(axis=-1) for x in sides) / 2  # [n_heads, n_query]
        # A causal row shares itself among fewer keys the earlier it stands: each sums to 1 here.
        one, other = (x / np.maximum(x.sum(axis=-1, keepdims=True), EPSILON) for x in sides)
        pairs = (np.minimum(one, other), np.minimum(one, dealt(other, both, rng)))
        common, chance = (pair.sum(axis=-1) * mass for pair in pairs)
        sums.append([x.sum(axis=-1) for x in (common, chance, mass)])
    return Overlap(*(np.stack(columns, axis=-1) for columns in zip(*sums, strict=True)))


def dealt(weights: Array, among: Mask, rng: np.random.Generator) -> Array:
    """Each row's weights dealt at random over the cells it may use: equal entropy, no meaning."""
    before = np.argsort(~among, axis=-1, kind="stable")
    after = np.argsort(np.where(among, rng.random(among.shape), 2.0), axis=-1)
    permuted = np.zeros_like(weights)
    np.put_along_axis(permuted, after, np.take_along_axis(weights, before, axis=-1), axis=-1)
    return permuted
