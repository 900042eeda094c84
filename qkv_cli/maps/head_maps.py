"""Head maps: the attention of some heads over one text, and the selection of heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.errors import InputError, UsageError
from qkv_cli.maps.matrix import LazyMatrix, Matrix, apply_rows, take
from qkv_cli.names import Block, Show, Weighting

# The field of each quantity that can be shown.
FIELDS: Mapping[Show, str] = {
    "weights": "pattern",
    "scores": "scores",
    "contributions": "norms",
    "rollout": "rollout",
}


@dataclass(frozen=True, slots=True)
class HeadMap:
    """One head on one text, or the mean of a layer's heads."""

    name: str  # L0H3
    block: Block
    layer: int
    head: int | None  # None: the average
    pattern: Matrix  # [n_query, n_key], the weights
    scores: Matrix | None = None  # [n_query, n_key], -inf where masked
    q: Array | None = None  # [n_query, d_head]
    k: Array | None = None  # [n_key, d_head]
    v: Array | None = None  # [n_key, d_head]
    z: Matrix | None = None  # [n_query, d_head]
    norms: Matrix | None = None  # [n_query, n_key], see `maps.flow`
    rollout: Array | None = None  # [n_query, n_key], see `maps.flow`
    # [n_query, n_key], True where the query can see the key; everywhere by default
    mask: Matrix = field(default_factory=lambda: np.ones((1, 1), np.bool_))

    def __post_init__(self) -> None:
        if not isinstance(self.mask, LazyMatrix):
            object.__setattr__(self, "mask", np.broadcast_to(self.mask, self.pattern.shape))

    def part(self, rows: slice | Sequence[int], columns: slice | Sequence[int]) -> HeadMap:
        """Return the map of some queries and keys; weights do not change."""
        indices = {
            **dict.fromkeys((*FIELDS.values(), "mask"), (rows, columns)),
            **dict.fromkeys(("q", "z"), (rows, slice(None))),
            **dict.fromkeys(("k", "v"), (columns, slice(None))),
        }
        arrays = {name: array for name in indices if (array := getattr(self, name)) is not None}
        parts: dict[str, Any] = {n: take(array, *indices[n]) for n, array in arrays.items()}
        return replace(self, **parts)


@dataclass(frozen=True, slots=True)
class HeadMaps:
    """Heads on one text. Rows are queries (the tokens that attend), columns are keys."""

    model: ModelInfo
    weighting: Weighting
    causal: bool
    text: str
    source: str | None  # None: self-attention, with keys equal to queries
    queries: Sequence[Token]
    keys: Sequence[Token]
    maps: Sequence[HeadMap]
    notes: Sequence[str] = ()  # for a reader of the maps
    pair: str | None = None  # the second sentence of a pair
    shown: Show = "weights"
    ablated: str = ""  # the ablated heads, and what replaces their output

    def seen(self, m: HeadMap) -> Matrix:
        """Return the quantity shown of a map, [n_query, n_key].

        Raises:
            UsageError: The map does not have it.
        """
        array: Matrix | None = getattr(m, FIELDS[self.shown])
        if array is None:
            option = "--include scores" if self.shown == "scores" else f"--show {self.shown}"
            raise UsageError(
                f"{m.name} has no {FIELDS[self.shown]}: write the file with "
                f"`qkv attend ... {option} --json`."
            )
        return array

    def refuse_not_finite(self) -> None:
        """Check the numbers of all maps: means, sums and norms can overflow.

        Those of long texts are checked when they are read; see `checked_rows`.

        Raises:
            InputError: A number that is not masked is NaN or infinite.
        """
        for m in self.maps:
            arrays = {"pattern": m.pattern, FIELDS[self.shown]: self.seen(m)}
            for name, amounts in arrays.items():
                if not isinstance(amounts, LazyMatrix):
                    refuse_not_finite(f"{m.name}.{name}", amounts, m.mask[:])

    def showing(self, show: Show) -> HeadMaps:
        """Return the same maps, showing another quantity."""
        maps = replace(self, shown=show)
        for m in maps.maps:
            maps.seen(m)
        return maps


def refuse_not_finite(name: str, amounts: Array, mask: Mask) -> None:
    """Raise an InputError if a number that is not masked is NaN or infinite."""
    if not (np.isfinite(amounts).all() or np.isfinite(amounts[mask]).all()):
        raise InputError(
            f"{name} contains NaN or infinity: a value exceeds the range of float32 (3.4e38)."
        )


def checked_rows(name: str, amounts: Matrix, mask: Matrix) -> Matrix:
    """Return the same numbers; rows of a long text are checked when they are read.

    Raises:
        InputError: Later, when rows with NaN or infinity that is not masked are read.
    """

    def check(numbers: Array, visible: Mask) -> Array:
        refuse_not_finite(name, numbers, visible)
        return numbers

    return apply_rows(check, amounts, mask) if isinstance(amounts, LazyMatrix) else amounts
