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
from qkv_cli.maps.matrix import LARGEST_TOGETHER, refuse_whole
from qkv_cli.maps.selection import ordinary

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Unit = Literal["row", "reading", "word"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of head, defined by the keys that it attends to.

    Attributes:
        unit: One observation: a row if each row has target keys of its own, a reading if all rows
            share them, or a word if another order of the same words adds no information.
        repeated: Measured on a shuffled text that is repeated once.
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
    """Return the target keys of each kind of head and query, [n_kinds, n_query, n_key].

    Between two texts, kinds that depend on order or repetition have no targets.
    """
    masks = {name: np.zeros((len(queries), len(keys)), np.bool_) for name in NAMES}
    masks["first"][:, 0] = True
    masks["separators"][:, 1:] = [key.special for key in keys[1:]]
    masks["punctuation"][:] = [is_punctuation(key) for key in keys]
    if one_text:
        n = len(keys)
        ids = np.array([key.id for key in keys])
        is_same_token = ids[:, None] == ids
        is_same_token &= np.array([not key.special for key in keys])
        for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
            masks[name] = np.eye(n, k=offset, dtype=np.bool_)
        masks["duplicate"] = is_same_token & ~masks["self"]
        # The token after the query itself is not a repetition, nor is the query.
        masks["induction"][:, 1:] = is_same_token[:, :-1]
        masks["induction"] &= ~(masks["next"] | masks["self"])
    return np.stack([masks[name] for name in NAMES])


def is_punctuation(token: Token) -> bool:
    """Whether a token has only punctuation and symbols (Unicode categories P and S)."""
    text = token.text.strip()
    return bool(text) and all(unicodedata.category(char)[0] in "PS" for char in text)


SMALLEST = np.finfo(np.float64).tiny  # 0 times its logarithm is 0

Figures = TypeVar("Figures", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the rows of ordinary tokens that can see at least two keys."""

    rows: Array  # [n_heads], the number of rows
    bits: Array  # [n_heads], entropy
    max_bits: Array  # [n_heads], the entropy of uniform weights over the visible keys
    distance: Array  # [n_heads], in tokens
    targeted: Array  # [n_heads, n_kinds], rows with keys of the kind and others
    share: Array  # [n_heads, n_kinds], their weight on keys of the kind
    chance: Array  # [n_heads, n_kinds], the expected weight of permuted rows

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Sums)))


def concatenate(parts: Sequence[Figures]) -> Figures:
    """Concatenate the arrays of several layers, of `Sums` or a similar dataclass."""
    names = [f.name for f in fields(parts[0])]
    return type(parts[0])(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def measure(maps: HeadMaps, targets: Mask) -> Sums:
    """Return the sums over one reading, of one or several layers. Rows must sum to 1.

    Permuting a row's weights over the keys that it sees gives a random pattern of equal entropy.
    Its expected weight on keys of a kind is the share of visible keys that are of the kind.

    Args:
        targets: [n_kinds, n_query, n_key], see `targets`.
    """
    visible = visible_keys(maps)
    if (visible != visible[0]).any():
        return concatenate(
            [
                measure(replace(maps, maps=maps_of_part), targets)
                for maps_of_part in _split_maps(maps.maps)
            ]
        )
    visible_cells = visible[0]  # [n_query, n_key], the same for all heads
    n_visible = visible_cells.sum(axis=-1)
    is_counted = (n_visible > 1) & [not query.special for query in maps.queries]
    target_cells = targets & visible_cells
    n_targets = target_cells.sum(axis=-1)  # [n_kinds, n_query]
    has_both = is_counted & (n_targets > 0) & (n_targets < n_visible)
    weights = patterns(maps) * is_counted[:, None]
    cells = weights.reshape(len(weights), -1)  # [n_heads, n_query * n_key]
    heads = np.ones(len(weights))
    return Sums(
        rows=heads * is_counted.sum(),
        bits=entropy(cells),
        max_bits=heads * np.log2(n_visible[is_counted]).sum(),
        distance=cells @ distances(maps).ravel(),
        targeted=np.outer(heads, has_both.sum(axis=-1)),
        share=cells
        @ (target_cells & has_both[..., None]).reshape(len(target_cells), -1).T.astype(np.float64),
        chance=np.outer(heads, (has_both * n_targets / np.maximum(n_visible, 1)).sum(axis=-1)),
    )


def _split_maps(maps: Sequence[HeadMap]) -> list[list[HeadMap]]:
    """Split maps into layers, or one layer into heads."""
    layers = dict.fromkeys(m.layer for m in maps)
    if len(layers) == 1:
        return [[m] for m in maps]
    return [[m for m in maps if m.layer == layer] for layer in layers]


def patterns(maps: HeadMaps) -> Array:
    """Return the patterns in double precision, [n_heads, n_query, n_key].

    Raises:
        UsageError: The text is too long for whole maps.
    """
    n_query, n_key = maps.maps[0].pattern.shape
    refuse_whole(n_query, n_key, "`qkv heads`", n_maps=len(maps.maps), largest=LARGEST_TOGETHER)
    return np.stack([m.pattern[:] for m in maps.maps]).astype(np.float64)


def visible_keys(maps: HeadMaps) -> Mask:
    """Return which keys each query can see, [n_heads, n_query, n_key].

    Raises:
        UsageError: The text is too long for whole maps.
    """
    n_query, n_key = maps.maps[0].mask.shape
    refuse_whole(n_query, n_key, "`qkv heads`", n_maps=len(maps.maps), largest=LARGEST_TOGETHER)
    return np.stack([m.mask[:] for m in maps.maps])


def entropy(weights: Array) -> Array:
    """Return the Shannon entropy over the last axis, in bits; 0 log 0 is 0."""
    logs = np.log2(np.maximum(weights, SMALLEST))
    bits: Array = -(weights * logs).sum(axis=-1)
    return bits


def one_text(maps: HeadMaps) -> bool:
    """Whether queries and keys are the same tokens (self-attention)."""
    return maps.maps[0].block != "cross"


def distances(maps: HeadMaps) -> Array:
    """Return the distance from query to key in tokens, [n_query, n_key]; NaN between texts."""
    if not one_text(maps):
        return np.full((len(maps.queries), len(maps.keys)), np.nan)
    positions = np.arange(len(maps.queries), dtype=np.float64)
    return np.abs(positions[:, None] - positions)


EPSILON = 1e-12  # only to avoid division by zero
LEAST_SPAN = 1e-3  # between chance and the maximum; below it, rounding errors dominate


@dataclass(frozen=True, slots=True)
class Overlap:
    """The overlap of the patterns of a text and of the same text shuffled, summed over readings.

    The overlap of two patterns is the sum of the smaller weight in each cell.
    """

    common: Array  # [n_heads, 2], overlap by position and by word
    chance: Array  # [n_heads, 2], with the other reading's rows permuted at random
    maximum: Array  # [n_heads, 2], the overlap of equal patterns

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.common + other.common, self.chance + other.chance, self.maximum + other.maximum
        )

    def beyond_chance(self, head: int, column: Literal[0, 1]) -> float | None:
        """Return the overlap by position (0) or by word (1): 0 is chance, 1 is the maximum.

        None if chance is at the maximum, as for uniform weights.
        """
        common, chance, maximum = (
            float(x[head, column]) for x in (self.common, self.chance, self.maximum)
        )
        span = maximum - chance
        return (common - chance) / span if span > LEAST_SPAN * maximum else None


def overlap(original: HeadMaps, shuffled: HeadMaps, rng: np.random.Generator) -> Overlap:
    """Return the overlap of the reading of a text as written with a shuffled reading.

    Cells count if query and key are different ordinary tokens, if at least one of them has moved,
    and if both readings can see them; a row is weighted by its weight on such cells.
    """
    a, b = patterns(original), patterns(shuffled)
    visible_a, visible_b = visible_keys(original), visible_keys(shuffled)
    # In the shuffled reading, `i` is a token's index in the text as written.
    rows, columns = (np.array([t.i for t in side]) for side in (shuffled.queries, shuffled.keys))
    positions = np.arange(len(rows)), np.arange(len(columns))
    has_moved = ~np.outer(rows == positions[0], columns == positions[1])
    has_moved &= np.outer(ordinary(original.queries), ordinary(original.keys))
    if one_text(original):
        np.fill_diagonal(has_moved, False)  # the query itself
    sums = []
    for order in (positions, (np.argsort(rows), np.argsort(columns))):
        cells = np.ix_(np.arange(len(b)), *order)
        comparable = visible_a & visible_b[cells] & has_moved
        sides = [np.where(comparable, x, 0.0) for x in (a, b[cells])]
        row_weight = sum(x.sum(axis=-1) for x in sides) / 2  # [n_heads, n_query]
        # Early causal rows have fewer keys, so each row is scaled to sum to 1.
        first_side, second_side = (
            x / np.maximum(x.sum(axis=-1, keepdims=True), EPSILON) for x in sides
        )
        pairs = (
            np.minimum(first_side, second_side),
            np.minimum(first_side, permute_rows(second_side, comparable, rng)),
        )
        common, chance = (pair.sum(axis=-1) * row_weight for pair in pairs)
        sums.append([x.sum(axis=-1) for x in (common, chance, row_weight)])
    return Overlap(*(np.stack(columns, axis=-1) for columns in zip(*sums, strict=True)))


def permute_rows(weights: Array, cells: Mask, rng: np.random.Generator) -> Array:
    """Permute each row's weights at random over the cells that are True.

    Args:
        weights, cells: [n_heads, n_query, n_key].
    """
    source_order = np.argsort(~cells, axis=-1, kind="stable")
    target_order = np.argsort(np.where(cells, rng.random(cells.shape), 2.0), axis=-1)
    permuted = np.zeros_like(weights)
    np.put_along_axis(
        permuted, target_order, np.take_along_axis(weights, source_order, axis=-1), axis=-1
    )
    return permuted
