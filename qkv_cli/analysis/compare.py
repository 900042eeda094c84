"""Comparison of two head maps, word by word, and the heads most similar to a given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from math import isnan

import numpy as np

from qkv_cli.core.arrays import Array, Mask, float64, largest_indices
from qkv_cli.core.attention import ALL
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.matrix import Matrix, apply_rows, keep_last, row_blocks, take
from qkv_cli.maps.merge import merge_words

ONLY_A, ONLY_B, OR = "-", "+", "/"


@dataclass(frozen=True, slots=True)
class Pair:
    """A word of one text or of both: its index in each, or None if it is missing there."""

    a: int | None
    b: int | None


def align(a: Sequence[Token], b: Sequence[Token], *, one_text: bool) -> list[Pair]:
    """Align the words of two texts.

    Equal words are matched in order, as in a diff. Between matches, words are paired in order if
    both sides have the same number of them (*tired* and *wide*), and left unpaired otherwise.

    Args:
        one_text: Both token lists are of the same text: words match if their offsets do.
    """
    pairs: list[Pair] = []
    matcher = SequenceMatcher(
        None, [_key(t, one_text) for t in a], [_key(t, one_text) for t in b], autojunk=False
    )
    for _, start_a, end_a, start_b, end_b in matcher.get_opcodes():
        left, right = range(start_a, end_a), range(start_b, end_b)
        if len(left) == len(right):
            pairs += [Pair(i, j) for i, j in zip(left, right, strict=True)]
        else:
            pairs += [Pair(i, None) for i in left]
            pairs += [Pair(None, j) for j in right]
    return pairs


def name_pairs(pairs: Sequence[Pair], a: Sequence[Token], b: Sequence[Token]) -> list[Token]:
    """Return a token for each pair: `tired/wide`, or `+very` if only b has the word."""
    return [replace(_name_pair(pair, a, b), i=i) for i, pair in enumerate(pairs)]


def _name_pair(pair: Pair, a: Sequence[Token], b: Sequence[Token]) -> Token:
    if pair.a is None or pair.b is None:
        token, sign = (b[pair.b], ONLY_B) if pair.b is not None else (a[pair.a or 0], ONLY_A)
        return replace(token, text=sign + token.word)
    word_a, word_b = a[pair.a], b[pair.b]
    if _key(word_a, False) == _key(word_b, False):
        return word_a
    text = f"{word_a.word}{OR}{word_b.word}"
    return replace(word_a, text=text, unknown=word_a.unknown or word_b.unknown)


def _key(token: Token, one_text: bool) -> object:
    """Return what identifies a word: its offsets in one text, otherwise its letters."""
    if token.special:
        return token.token
    if not one_text:
        return token.text.strip().casefold()
    start = token.start + len(token.text) - len(token.text.lstrip())
    return start, start + len(token.text.strip())


def jensen_shannon(a: Array, b: Array) -> Array:
    """Return the Jensen-Shannon divergence of each row of a and b, in bits.

    It is 0 for equal rows and 1 for disjoint ones:

    (KL(a || m) + KL(b || m)) / 2 with m = (a + b) / 2, rows scaled to sum to 1 (Lin 1991,
    "Divergence Measures Based on the Shannon Entropy"). It is NaN for a row without weight.

    Args:
        a, b: Non-negative weights, [..., n_row, n_column].

    Returns:
        [..., n_row].
    """
    total_a, total_b = a.sum(axis=-1), b.sum(axis=-1)
    has_no_weight = (total_a <= 0) | (total_b <= 0)
    a, b = (x / np.where(has_no_weight, 1.0, x.sum(axis=-1))[..., None] for x in (a, b))
    mean = (a + b) / 2
    divergence: Array = (_kl(a, mean) + _kl(b, mean)) / 2
    return np.where(has_no_weight, np.nan, divergence)


def _kl(a: Array, b: Array) -> Array:
    """Return KL(a || b) of each row, in bits; 0 log 0 is 0."""
    ratio = np.divide(a, b, out=np.ones_like(a), where=a > 0)
    divergence: Array = (a * np.log2(ratio)).sum(axis=-1)
    return divergence


@dataclass(frozen=True, slots=True)
class Moments:
    """The moments of pairs of numbers (a, b), which can be added over blocks of them.

    Chan, Golub and LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", equation 2.1.

    Attributes:
        mean: Of a and of b.
        centred: The sums of squares and products of a and b minus their means, [2, 2].
        least, largest: Of a and of b.
    """

    n: int
    mean: Array  # [2]
    centred: Array  # [2, 2]
    least: Array  # [2]
    largest: Array  # [2]

    @classmethod
    def of(cls, a: Array, b: Array) -> Moments:
        """Return the moments of two vectors, [n]."""
        pairs = np.stack([a, b])
        mean = pairs.mean(axis=1) if a.size else np.zeros(2)
        from_mean = pairs - mean[:, None]
        return cls(
            n=a.size,
            mean=mean,
            centred=from_mean @ from_mean.T,
            least=pairs.min(axis=1, initial=np.inf),
            largest=pairs.max(axis=1, initial=-np.inf),
        )

    def __add__(self, other: Moments) -> Moments:
        n, step = self.n + other.n, other.mean - self.mean
        share = other.n / max(n, 1)
        return Moments(
            n=n,
            mean=self.mean + step * share,
            centred=self.centred + other.centred + np.outer(step, step) * (self.n * share),
            least=np.minimum(self.least, other.least),
            largest=np.maximum(self.largest, other.largest),
        )

    @property
    def cosine(self) -> float:
        """The cosine similarity; NaN if one side is all zeros."""
        return _similarity(self.centred + self.n * np.outer(self.mean, self.mean))

    @property
    def pearson(self) -> float:
        """The Pearson correlation; NaN if one side is constant."""
        is_constant = (self.largest <= self.least).any()
        return float("nan") if is_constant else _similarity(self.centred)


def _similarity(products: Array) -> float:
    """Return the product of two vectors over their lengths, given all products, [2, 2]."""
    length = np.sqrt(products[0, 0] * products[1, 1])
    return float(products[0, 1] / length) if length else float("nan")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two maps on common rows and columns.

    Rows are the words of both sides, columns the words of either.

    Attributes:
        a, b: The sides, each with one map; in words if their tokens differ.
        rows, columns: The indices of each row and column in a and b.
        queries, keys: Tokens that name the rows and columns.
        weights_a, weights_b: NaN where that side masks the cell or lacks the word.
        difference: b - a, where a missing weight counts as 0; NaN where both sides mask the cell.
        divergence: Jensen-Shannon divergence of each row, in bits; NaN if a side has no weight in
            the row, or if its weights do not sum to 1. Norms are scaled to sum to 1.
        cosine, pearson: Over all cells that one side does not mask; NaN if a side is constant.
        differs: Whether any cell differs.
    """

    a: HeadMaps
    b: HeadMaps
    rows: Sequence[Pair]
    columns: Sequence[Pair]
    queries: Sequence[Token]
    keys: Sequence[Token]
    weights_a: Matrix  # [n_row, n_column]
    weights_b: Matrix  # [n_row, n_column]
    difference: Matrix  # [n_row, n_column]
    divergence: Array  # [n_row]
    cosine: float
    pearson: float
    differs: bool

    @property
    def mean_divergence(self) -> float:
        """The mean over the rows with a divergence; NaN if there is none."""
        comparable = self.divergence[~np.isnan(self.divergence)]
        return float(comparable.mean()) if len(comparable) else float("nan")


def compare(a: HeadMaps, b: HeadMaps) -> Comparison:
    """Align two maps by their words and measure how they differ.

    Args:
        a, b: Head maps, each with one map.

    Raises:
        UsageError: They have no word in common, or show different quantities.
    """
    if a.shown != b.shown:
        raise UsageError(
            f"Cannot compare {a.shown} with {b.shown}: choose one of them with --show."
        )
    if not _have_same_tokenizer(a, b):
        a, b = merge_words(a), merge_words(b)
    # Offsets identify the words of one text, but not those of a pair.
    one_text = (a.text, a.source) == (b.text, b.source) and not (a.pair or b.pair)
    queries = align(a.queries, b.queries, one_text=one_text)
    keys = align(a.keys, b.keys, one_text=one_text)
    names = name_pairs(queries, a.queries, b.queries)
    shared_rows = [at for at, pair in enumerate(queries) if None not in (pair.a, pair.b)]
    if not shared_rows:
        raise UsageError("Nothing to compare: the two texts have no word in common.")
    rows = [queries[at] for at in shared_rows]
    weights_a = _align_weights(a, [pair.a for pair in rows], [pair.a for pair in keys])
    weights_b = _align_weights(b, [pair.b for pair in rows], [pair.b for pair in keys])
    # Only rows that sum to 1, or norms scaled to do so, are distributions.
    has_distributions = a.shown != "scores" and "linear" not in (a.weighting, b.weighting)
    divergence = np.full(len(rows), np.nan)
    moments, differs = Moments.of(np.zeros(0), np.zeros(0)), False
    difference = apply_rows(_difference, weights_a, weights_b)
    for block in row_blocks(difference):
        filled_a, filled_b = (np.nan_to_num(side[block]) for side in (weights_a, weights_b))
        visible = ~np.isnan(difference[block])
        moments += Moments.of(filled_a[visible], filled_b[visible])
        differs |= bool((filled_a != filled_b)[visible].any())
        if has_distributions:
            divergence[block] = jensen_shannon(filled_a, filled_b)
    return Comparison(
        a=a,
        b=b,
        rows=rows,
        columns=keys,
        queries=[names[at] for at in shared_rows],
        keys=name_pairs(keys, a.keys, b.keys),
        weights_a=weights_a,
        weights_b=weights_b,
        difference=difference,
        divergence=divergence,
        cosine=moments.cosine,
        pearson=moments.pearson,
        differs=differs,
    )


def _difference(a: Array, b: Array) -> Array:
    """Return b - a, where a missing weight counts as 0; NaN where both are missing."""
    change = np.nan_to_num(b) - np.nan_to_num(a)
    return np.where(np.isnan(a) & np.isnan(b), np.nan, change)


def _have_same_tokenizer(a: HeadMaps, b: HeadMaps) -> bool:
    """Whether both models split a text into the same tokens."""
    model_a, model_b = a.model, b.model
    return (model_a.name, model_a.type, model_a.d_vocab) == (
        model_b.name,
        model_b.type,
        model_b.d_vocab,
    )


def _align_weights(
    maps: HeadMaps, rows: Sequence[int | None], columns: Sequence[int | None]
) -> Matrix:
    """Return a map on the common rows and columns; NaN where it is masked or has no such word."""
    [head_map] = maps.maps
    present = [(at, j) for at, j in enumerate(columns) if j is not None]
    places, own_columns = [at for at, _ in present], [j for _, j in present]

    def align(amounts: Array, mask: Mask) -> Array:
        aligned = np.full((len(amounts), len(columns)), np.nan)
        aligned[:, places] = np.where(mask, float64(amounts), np.nan)[:, own_columns]
        return aligned

    own_rows = [i for i in rows if i is not None]
    matrices = (take(x, own_rows, ALL) for x in (maps.seen(head_map), head_map.mask))
    return keep_last(apply_rows(align, *matrices, n_columns=len(columns)))


@dataclass(frozen=True, slots=True)
class ChangedCell:
    """A cell that differs, by its row and column in the comparison."""

    row: int
    column: int
    a: float
    b: float
    change: float


def largest_changes(c: Comparison, n: int) -> list[ChangedCell]:
    """Return the n cells that differ most, without those that are equal."""
    cells: list[ChangedCell] = []
    for block in row_blocks(c.difference):
        change = c.difference[block]
        sides = [np.nan_to_num(w[block]) for w in (c.weights_a, c.weights_b)]
        for at in largest_indices(change, n):
            row, column = divmod(at, len(c.keys))
            a, b = (float(side[row, column]) for side in sides)
            cells.append(
                ChangedCell(
                    row=block.start + row,
                    column=column,
                    a=a,
                    b=b,
                    change=float(change[row, column]),
                )
            )
        cells = sorted(cells, key=lambda cell: -abs(cell.change))[:n]
    return cells


@dataclass(frozen=True, slots=True)
class SimilarHead:
    """A head, and its similarity to the reference head."""

    map: HeadMap
    divergence: float
    cosine: float
    pearson: float


def nearest_heads(a: HeadMaps, candidates: HeadMaps) -> list[SimilarHead]:
    """Rank the candidates by their mean divergence from the map of `a`, the smallest first.

    The reference head itself is left out.
    """
    [reference] = a.maps
    is_same_reading = _reading_key(a) == _reading_key(candidates)
    similar_heads = []
    for m in candidates.maps:
        if is_same_reading and (m.block, m.name) == (reference.block, reference.name):
            continue
        c = compare(a, replace(candidates, maps=[m]))
        similar_heads.append(
            SimilarHead(map=m, divergence=c.mean_divergence, cosine=c.cosine, pearson=c.pearson)
        )
    return sorted(
        similar_heads,
        key=lambda similar_head: (isnan(similar_head.divergence), similar_head.divergence),
    )


def _reading_key(maps: HeadMaps) -> tuple[object, ...]:
    return maps.model, maps.weighting, maps.causal, maps.text, maps.source, maps.pair
