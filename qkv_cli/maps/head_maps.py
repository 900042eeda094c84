"""Head maps: the attention of some heads over one text, and the selection of heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.errors import InputError, UsageError
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
    pattern: Array  # [n_query, n_key], the weights
    scores: Array | None = None  # [n_query, n_key], -inf where masked
    q: Array | None = None  # [n_query, d_head]
    k: Array | None = None  # [n_key, d_head]
    v: Array | None = None  # [n_key, d_head]
    z: Array | None = None  # [n_query, d_head]
    norms: Array | None = None  # [n_query, n_key], see `maps.flow`
    rollout: Array | None = None  # [n_query, n_key], see `maps.flow`
    # [n_query, n_key], True where the query can see the key; everywhere by default
    mask: Mask = field(default_factory=lambda: np.ones((1, 1), np.bool_))

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", np.broadcast_to(self.mask, self.pattern.shape))

    def part(self, rows: slice | Sequence[int], columns: slice | Sequence[int]) -> HeadMap:
        """Return the map of some queries and keys; weights do not change."""
        indices = {
            **dict.fromkeys((*FIELDS.values(), "mask"), (rows, columns)),
            **dict.fromkeys(("q", "z"), (rows, slice(None))),
            **dict.fromkeys(("k", "v"), (columns, slice(None))),
        }
        arrays = {name: array for name in indices if (array := getattr(self, name)) is not None}
        return replace(
            self, **{n: array[indices[n][0]][:, indices[n][1]] for n, array in arrays.items()}
        )


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

    def seen(self, m: HeadMap) -> Array:
        """Return the quantity shown of a map, [n_query, n_key].

        Raises:
            UsageError: The map does not have it.
        """
        array: Array | None = getattr(m, FIELDS[self.shown])
        if array is None:
            option = "--include scores" if self.shown == "scores" else f"--show {self.shown}"
            raise UsageError(
                f"{m.name} has no {FIELDS[self.shown]}: write the file with "
                f"`qkv attend ... {option} --json`."
            )
        return array

    def refuse_not_finite(self) -> None:
        """Check the numbers of all maps: means, sums and norms can overflow.

        Raises:
            InputError: A number that is not masked is NaN or infinite.
        """
        for m in self.maps:
            arrays = {"pattern": m.pattern, FIELDS[self.shown]: self.seen(m)}
            for name, amounts in arrays.items():
                if not (np.isfinite(amounts).all() or np.isfinite(amounts[m.mask]).all()):
                    raise InputError(
                        f"{m.name}.{name} contains NaN or infinity: a value exceeds the range of "
                        "float32 (3.4e38)."
                    )

    def showing(self, show: Show) -> HeadMaps:
        """Return the same maps, showing another quantity."""
        maps = replace(self, shown=show)
        for m in maps.maps:
            maps.seen(m)
        return maps
