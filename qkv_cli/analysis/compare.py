"""Two maps beside each other, word by word: where they differ, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkv_cli.analysis.align import Pair, align, named
from qkv_cli.analysis.merge import merge_words
from qkv_cli.analysis.similarity import cosine, jensen_shannon, pearson
from qkv_cli.core.arrays import Array, float64
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError
from qkv_cli.views import HeadMaps


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two maps on common rows and columns.

    Rows are the words that both have, columns those that one of them has.

    Attributes:
        a, b: What is compared, each of one map, in words where their tokens differ.
        rows, columns: Which tokens of a and b each row and column is.
        queries, keys: What to call them.
        weights_a, weights_b: nan where that side cannot look, or has no such word.
        difference: b - a, where a weight that is not there counts as 0; nan where neither
            can look.
        divergence: Jensen-Shannon divergence of each row, bits; nan where a side has no weight
            or its weights are no shares. Rows of lengths are scaled to sum to 1.
        cosine, pearson: Over all cells where one can look; nan where one side is flat.
    """

    a: HeadMaps
    b: HeadMaps
    rows: Sequence[Pair]
    columns: Sequence[Pair]
    queries: Sequence[Token]
    keys: Sequence[Token]
    weights_a: Array  # [n_row, n_column]
    weights_b: Array  # [n_row, n_column]
    difference: Array  # [n_row, n_column]
    divergence: Array  # [n_row]
    cosine: float
    pearson: float

    @property
    def mean_divergence(self) -> float:
        """Over the rows that have one; nan if none has."""
        known = self.divergence[~np.isnan(self.divergence)]
        return float(known.mean()) if len(known) else float("nan")


def compare(a: HeadMaps, b: HeadMaps) -> Comparison:
    """Align two maps by their words and measure how they differ.

    Args:
        a, b: Each of one map.

    Raises:
        UsageError: They have no word in common, or show different things.
    """
    if a.shown != b.shown:
        raise UsageError(
            f"Cannot compare {a.shown} with {b.shown}: choose one of them with --show."
        )
    if not _same_tokens(a, b):
        a, b = merge_words(a), merge_words(b)
    # Offsets tell the words of one text apart, but not those of a pair.
    one_text = (a.text, a.source) == (b.text, b.source) and not (a.pair or b.pair)
    queries = align(a.queries, b.queries, one_text=one_text)
    keys = align(a.keys, b.keys, one_text=one_text)
    names = named(queries, a.queries, b.queries)
    shared = [at for at, pair in enumerate(queries) if None not in (pair.a, pair.b)]
    if not shared:
        raise UsageError("Nothing to compare: the two texts have no word in common.")
    rows = [queries[at] for at in shared]
    sides = [
        _placed(a, [pair.a for pair in rows], [pair.a for pair in keys]),
        _placed(b, [pair.b for pair in rows], [pair.b for pair in keys]),
    ]
    one, other = (np.nan_to_num(side) for side in sides)
    seen = ~np.isnan(sides[0]) | ~np.isnan(sides[1])
    shares = a.shown != "scores" and "linear" not in (a.weighting, b.weighting)
    return Comparison(
        a,
        b,
        rows,
        keys,
        [names[at] for at in shared],
        named(keys, a.keys, b.keys),
        weights_a=sides[0],
        weights_b=sides[1],
        difference=np.where(seen, other - one, np.nan),
        divergence=jensen_shannon(one, other) if shares else np.full(len(rows), np.nan),
        cosine=cosine(one[seen], other[seen]),
        pearson=pearson(one[seen], other[seen]),
    )


def _same_tokens(a: HeadMaps, b: HeadMaps) -> bool:
    """Whether both are cut into tokens in the same way."""
    one, other = a.model, b.model
    return (one.name, one.type, one.d_vocab) == (other.name, other.type, other.d_vocab)


def _placed(maps: HeadMaps, rows: Sequence[int | None], columns: Sequence[int | None]) -> Array:
    """The one map on common rows and columns; nan where it has none, or cannot look."""
    [m] = maps.maps
    weights = np.where(m.mask, float64(maps.seen(m)), np.nan)
    found = np.full((len(rows), len(columns)), np.nan)
    own_rows = [(at, i) for at, i in enumerate(rows) if i is not None]
    own_columns = [(at, j) for at, j in enumerate(columns) if j is not None]
    to = np.ix_([at for at, _ in own_rows], [at for at, _ in own_columns])
    found[to] = weights[np.ix_([i for _, i in own_rows], [j for _, j in own_columns])]
    return found


@dataclass(frozen=True, slots=True)
class Moved:
    """A cell that differs, by its row and column in the comparison."""

    row: int
    column: int
    a: float
    b: float
    change: float


def moved(c: Comparison, n: int) -> list[Moved]:
    """The n cells that differ most, the first of equals first; none that do not differ."""
    amount = np.abs(np.nan_to_num(c.difference)).ravel()
    found = []
    for at in np.argsort(-amount, kind="stable")[:n]:
        row, column = divmod(int(at), len(c.keys))
        if amount[at]:
            a, b = (float(np.nan_to_num(w[row, column])) for w in (c.weights_a, c.weights_b))
            found.append(Moved(row, column, a, b, float(c.difference[row, column])))
    return found
