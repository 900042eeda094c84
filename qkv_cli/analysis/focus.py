"""One token's row or column of some maps: where it looks, or who looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.views import HeadMap, HeadMaps

Side = Literal["query", "key"]


@dataclass(frozen=True, slots=True)
class Focus:
    """What some heads give from one query to all keys, or to one key from all queries.

    Attributes:
        side: Which of the two the token is.
        at: Where it stands among the queries or the keys.
        weights: [n_map, n_other], nan where the query cannot look.
        mean: [n_other], over the maps; nan where none of them can look.
    """

    maps: HeadMaps
    side: Side
    at: int
    weights: Array
    mean: Array

    @property
    def token(self) -> Token:
        return (self.maps.queries if self.side == "query" else self.maps.keys)[self.at]

    @property
    def others(self) -> Sequence[Token]:
        """The tokens that it looks at, or that look at it."""
        return self.maps.keys if self.side == "query" else self.maps.queries


def focus(maps: HeadMaps, side: Side, at: int) -> Focus:
    """Take one row or one column out of every map."""
    weights = np.stack([_line(m, maps.seen(m), side, at) for m in maps.maps])
    known = ~np.isnan(weights)
    total, n = np.nansum(weights, axis=0), known.sum(axis=0)
    return Focus(maps, side, at, weights, np.where(n > 0, total / np.maximum(n, 1), np.nan))


def _line(m: HeadMap, seen: Array, side: Side, at: int) -> Array:
    where = (at, slice(None)) if side == "query" else (slice(None), at)
    weights = np.asarray(seen[where], dtype=np.float64)
    return np.where(m.mask[where], weights, np.nan)


@dataclass(frozen=True, slots=True)
class Strongest:
    """Some of the weights of a line, and what is left."""

    places: Sequence[int]  # the furthest from 0 first
    n_rest: int  # others that can be looked at
    rest: float  # their sum


def strongest(weights: Array, n: int) -> Strongest:
    """The n weights that are furthest from 0, the first of equals first; none that is 0."""
    amount = np.abs(np.nan_to_num(weights))
    places = [int(at) for at in np.argsort(-amount, kind="stable")[:n] if amount[at]]
    rest = np.delete(weights, places)
    return Strongest(places, int((~np.isnan(rest)).sum()), float(np.nansum(rest)))
