"""Measurements of heads on one text: sums that can be added over texts, and kinds of heads."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from itertools import product
from operator import add
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, Rows
from qkv_cli.core.attention import ALL
from qkv_cli.core.parallel import parallel, parts
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
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
_ROWS = 16  # of a long text that are measured at once, at least
_CELLS = 1 << 17  # cells of all heads that are measured at once: 1 MiB in double precision


class Targets:
    """The target keys of each kind of head and query.

    Between two texts, kinds that depend on order or repetition have no targets.
    """

    def __init__(self, queries: Sequence[Token], keys: Sequence[Token], *, one_text: bool) -> None:
        self.shape, self.one_text = (len(queries), len(keys)), one_text
        self._separators = np.array([key.special for key in keys]) & (np.arange(len(keys)) > 0)
        self._punctuation = np.array([is_punctuation(key) for key in keys])
        # Special tokens have the ids of no other token.
        ids = [-1 - i if key.special else key.id for i, key in enumerate(keys)]
        self._ids = np.array(ids)
        self._last: tuple[slice, Mask] | None = None

    def block(self, rows: slice) -> Mask:
        """Return the targets of some queries, [n_kinds, n_rows, n_key]."""
        last = self._last  # layers of a short text share a block
        if last is None or last[0] != rows:
            self._last = last = rows, self._block(rows)
        return last[1]

    def _block(self, rows: slice) -> Mask:
        n_query, n_key = self.shape
        queries, keys = np.arange(n_query)[rows], np.arange(n_key)
        masks = {name: np.zeros((len(queries), n_key), np.bool_) for name in NAMES}
        masks["first"][:, 0] = True
        masks["separators"][:] = self._separators
        masks["punctuation"][:] = self._punctuation
        if self.one_text:
            is_same_token = self._ids[queries][:, None] == self._ids
            for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
                masks[name] = queries[:, None] + offset == keys
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


def measure(maps: HeadMaps, targets: Targets) -> Sums:
    """Return the sums over one reading, of one or several layers. Rows must sum to 1.

    Permuting a row's weights over the keys that it sees gives a random pattern of equal entropy.
    Its expected weight on keys of a kind is the share of visible keys that are of the kind.

    Rows are read in blocks.
    """
    blocks, groups = _blocks(maps)
    sums = dict[int, Sums]()

    def run(index: int) -> None:
        sums[index] = _measure_rows(maps, blocks[index], groups, targets.block(blocks[index]))

    if len(blocks) == 1:
        run(0)
    else:
        parallel(run, range(len(blocks)))
    return reduce(add, (sums[index] for index in range(len(blocks))))


def _measure_rows(maps: HeadMaps, rows: slice, groups: Sequence[slice], target_cells: Mask) -> Sums:
    visible = _visible(maps, rows)
    if (visible != visible[0]).any():
        return concatenate(
            [
                _measure_rows(replace(maps, maps=maps_of_part), rows, groups, target_cells)
                for maps_of_part in _split_maps(maps.maps)
            ]
        )
    visible_cells = visible[0]  # [n_rows, n_key], the same for all heads
    n_visible = visible_cells.sum(axis=-1)
    is_counted = (n_visible > 1) & [not query.special for query in maps.queries[rows]]
    target_cells = target_cells & visible_cells
    n_targets = target_cells.sum(axis=-1)  # [n_kinds, n_rows]
    has_both = is_counted & (n_targets > 0) & (n_targets < n_visible)
    is_target = (target_cells & has_both[..., None]).reshape(len(target_cells), -1)
    factors = np.vstack([is_target.astype(np.float64), _distances(maps, rows).reshape(1, -1)]).T
    bits, sums = list[Array](), list[Array]()
    for group in groups:
        if maps_of_group := maps.maps[group]:
            weights = _patterns(maps_of_group, rows)
            weights *= is_counted[:, None]
            cells = weights.reshape(len(weights), -1)  # [n_heads, n_rows * n_key]
            sums.append(cells @ factors)
            bits.append(entropy(cells))
    heads = np.ones(len(maps.maps))
    return Sums(
        rows=heads * is_counted.sum(),
        bits=np.concatenate(bits),
        max_bits=heads * np.log2(n_visible[is_counted]).sum(),
        distance=np.concatenate(sums)[:, -1],
        targeted=np.outer(heads, has_both.sum(axis=-1)),
        share=np.concatenate(sums)[:, :-1],
        chance=np.outer(heads, (has_both * n_targets / np.maximum(n_visible, 1)).sum(axis=-1)),
    )


def _split_maps(maps: Sequence[HeadMap]) -> list[list[HeadMap]]:
    """Split maps into layers, or one layer into heads."""
    layers = dict.fromkeys(m.layer for m in maps)
    if len(layers) == 1:
        return [[m] for m in maps]
    return [[m for m in maps if m.layer == layer] for layer in layers]


def _blocks(maps: HeadMaps) -> tuple[list[slice], list[slice]]:
    """Return blocks of rows, and groups of heads, that are measured at once.

    A short text is one block of all heads. A block has several rows of a head, so that the head's
    keys are read once for all of them.
    """
    n_heads, (n_query, n_key) = len(maps.maps), maps.maps[0].pattern.shape
    n_rows = min(n_query, max(_ROWS, _CELLS // (n_heads * n_key)))
    n_together = max(1, _CELLS // (n_rows * n_key))
    return parts(n_query, -(-n_query // n_rows)), parts(n_heads, -(-n_heads // n_together))


def _patterns(maps: Sequence[HeadMap], rows: Rows, keys: Rows = ALL) -> Array:
    """Return rows of the patterns in double precision, [n_heads, n_rows, n_key]."""
    return np.stack([m.pattern[rows][:, keys] for m in maps], dtype=np.float64)


def _visible(maps: HeadMaps, rows: Rows, keys: Rows = ALL) -> Mask:
    """Return which keys some queries can see, [n_heads, n_rows, n_key]."""
    return np.stack([m.mask[rows][:, keys] for m in maps.maps])


def entropy(weights: Array) -> Array:
    """Return the Shannon entropy over the last axis, in bits; 0 log 0 is 0."""
    logs = np.log2(np.maximum(weights, SMALLEST))
    bits: Array = -(weights * logs).sum(axis=-1)
    return bits


def one_text(maps: HeadMaps) -> bool:
    """Whether queries and keys are the same tokens (self-attention)."""
    return maps.maps[0].block != "cross"


def _distances(maps: HeadMaps, rows: slice) -> Array:
    """Return the distance from query to key in tokens, [n_rows, n_key]; NaN between texts."""
    n_query, n_key = len(maps.queries), len(maps.keys)
    queries, keys = np.arange(n_query, dtype=np.float64)[rows], np.arange(n_key)
    distance = np.abs(queries[:, None] - keys)
    return distance if one_text(maps) else np.full_like(distance, np.nan)


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
    # In the shuffled reading, `i` is a token's index in the text as written.
    sources = [np.array([t.i for t in side]) for side in (shuffled.queries, shuffled.keys)]
    has_moved = [source != np.arange(len(source)) for source in sources]
    order_queries, order_keys = (np.argsort(source) for source in sources)
    blocks, groups = _blocks(original)
    sums = []
    for by_word in (False, True):
        total = np.zeros((3, len(original.maps)))
        for rows, group in product(blocks, groups):
            total[:, group] += _overlap_rows(
                replace(original, maps=original.maps[group]),
                replace(shuffled, maps=shuffled.maps[group]),
                (rows, order_queries[rows] if by_word else rows),
                order_keys if by_word else ALL,
                has_moved,
                rng,
            )
        sums.append(total)
    return Overlap(*(np.stack(columns, axis=-1) for columns in zip(*sums, strict=True)))


def _overlap_rows(
    original: HeadMaps,
    shuffled: HeadMaps,
    queries: tuple[slice, Rows],
    keys: Rows,
    has_moved: Sequence[Mask],
    rng: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Return the common weight, the chance and the maximum of some rows, each [n_heads].

    Args:
        queries: Those of the original, and those of the shuffled reading to compare them with.
        keys: Those of the shuffled reading to compare with all keys of the original.
        has_moved: Whether each query and each key of the shuffled reading has moved.
    """
    rows, shuffled_rows = queries
    comparable = ~np.outer(~has_moved[0][rows], ~has_moved[1])
    comparable &= np.outer(ordinary(original.queries)[rows], ordinary(original.keys))
    if one_text(original):
        at = np.arange(len(original.queries))[rows]
        comparable[np.arange(len(at)), at] = False  # the query itself
    comparable = comparable & _visible(original, rows) & _visible(shuffled, shuffled_rows, keys)
    sides = [
        _patterns(original.maps, rows),
        _patterns(shuffled.maps, shuffled_rows, keys),
    ]
    for side in sides:
        side *= comparable
    row_weight = sum(x.sum(axis=-1) for x in sides) / 2  # [n_heads, n_rows]
    # Early causal rows have fewer keys, so each row is scaled to sum to 1.
    first_side, second_side = (
        x / np.maximum(x.sum(axis=-1, keepdims=True), EPSILON) for x in sides
    )
    pairs = (
        np.minimum(first_side, second_side),
        np.minimum(first_side, permute_rows(second_side, comparable, rng)),
    )
    common, chance = ((pair.sum(axis=-1) * row_weight).sum(axis=-1) for pair in pairs)
    return common, chance, row_weight.sum(axis=-1)


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
