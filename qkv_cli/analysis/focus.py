"""One row or column of head maps: what a word attends to, or what attends to it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qkv_cli.core.arrays import Array, largest_indices
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.matrix import Matrix, row_blocks

MAX_LISTED = 40


def pick(side: str, reference: str, tokens: Sequence[Token]) -> list[int]:
    """Return the positions, in a list of tokens, of an index or of a word in any case.

    A number is an index if there is such a token (negative: from the end), else a word; `=3` is
    always the word. Indices are those of the text, also if tokens are left out of the list.

    Args:
        side: "query" or "key", for the message.

    Raises:
        UsageError: No token matches; the message names a similar word and lists the tokens.
    """
    if re.fullmatch(r"-[0-9]{1,18}", reference) and int(reference) >= -len(tokens):
        return [int(reference) % len(tokens)]
    if _is_index(reference) and (
        indexed := [p for p, t in enumerate(tokens) if t.i == int(reference)]
    ):
        return indexed
    spelling = reference.removeprefix("=") if len(reference) > 1 else reference
    if positions := _positions_of(spelling, tokens):
        return positions
    spellings = {_fold(token.word): token.word for token in tokens}
    suggestions = difflib.get_close_matches(_fold(spelling), spellings, n=1)
    hint = f" Did you mean {spellings[suggestions[0]]!r}?" if suggestions else ""
    listed = ", ".join(f"{t.i} {t.word}" for t in tokens[:MAX_LISTED])
    suffix = f" and {len(tokens) - MAX_LISTED} more" if len(tokens) > MAX_LISTED else ""
    raise UsageError(
        f"--{side} {spelling!r} is neither a word nor an index here.{hint} Words: {listed}{suffix}."
    )


def same_word(reference: str, tokens: Sequence[Token]) -> list[int]:
    """Return the positions at which a number that was read as an index also occurs as a word."""
    return _positions_of(reference, tokens) if _is_index(reference) else []


def _is_index(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


def _positions_of(spelling: str, tokens: Sequence[Token]) -> list[int]:
    folded = _fold(spelling)
    if not folded:  # special tokens have no text
        return []
    return [p for p, t in enumerate(tokens) if folded in (_fold(t.text), _fold(t.token))]


def _fold(text: str) -> str:
    return text.strip().casefold()


Side = Literal["query", "key"]


@dataclass(frozen=True, slots=True)
class Focus:
    """The weights from one query to all keys, or from all queries to one key, in several heads.

    Attributes:
        side: Whether the token is the query or the key.
        at: Its position among the queries or the keys.
        weights: [n_maps, n_others], NaN where masked.
        mean: [n_others], the mean over the maps; NaN where masked in all of them.
    """

    maps: HeadMaps
    side: Side
    at: int
    weights: Array
    mean: Array

    @property
    def token(self) -> Token:
        """The token whose row or column this is."""
        return (self.maps.queries if self.side == "query" else self.maps.keys)[self.at]

    @property
    def others(self) -> Sequence[Token]:
        """The tokens that it attends to, or that attend to it."""
        return self.maps.keys if self.side == "query" else self.maps.queries


def focus(maps: HeadMaps, side: Side, at: int) -> Focus:
    """Return one row or one column of every map, and its mean over the maps."""
    weights = np.stack([_line(m, maps.seen(m), side, at) for m in maps.maps])
    visible = ~np.isnan(weights)
    total, n = np.nansum(weights, axis=0), visible.sum(axis=0)
    return Focus(
        maps=maps,
        side=side,
        at=at,
        weights=weights,
        mean=np.where(n > 0, total / np.maximum(n, 1), np.nan),
    )


def _line(m: HeadMap, quantity: Matrix, side: Side, at: int) -> Array:
    if side == "query":
        weights, mask = quantity[at : at + 1][0], m.mask[at : at + 1][0]
    else:
        blocks = [(quantity[rows][:, at], m.mask[rows][:, at]) for rows in row_blocks(quantity)]
        weights, mask = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return np.where(mask, np.asarray(weights, dtype=np.float64), np.nan)


@dataclass(frozen=True, slots=True)
class Strongest:
    """The strongest weights of a row or column, and the sum of the others."""

    places: Sequence[int]  # the furthest from 0 first
    n_rest: int  # other weights that are not masked
    rest: float  # their sum


def strongest_weights(weights: Array, n: int) -> Strongest:
    """Return the n weights furthest from 0, without zeros, and the sum of the others."""
    places = largest_indices(weights, n)
    other_weights = np.delete(weights, places)
    return Strongest(places, int((~np.isnan(other_weights)).sum()), float(np.nansum(other_weights)))
