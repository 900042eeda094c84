"""Attention that was computed elsewhere: an array and the tokens it is about, as head maps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, BFloat16, float32
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.errors import InputError, UsageError
from qkv_cli.views import BlockName, HeadMap, HeadMaps

FAR = 0.01  # from 1, for a row's sum in float16 or bfloat16
_SPACES = ("\u2581", "\u0120")  # how SentencePiece and byte pairs spell the space before a word
_SPECIAL = re.compile(r"\[[A-Z]+\]|<[^<>\s]+>|<\|[^<>\s]+\|>")


def one_of(arrays: Mapping[str, NDArray[Any]], name: str | None) -> NDArray[Any]:
    """The array that is meant.

    Args:
        name: What `--array` says; without it there must be one, or one called attention.

    Raises:
        UsageError: It cannot be told which; the message names those there are.
    """
    called = [n for n in arrays if n in ("attention", "attentions", "pattern")]
    wanted = [name] if name is not None else called if len(arrays) > 1 else list(arrays)
    if len(wanted) != 1 or wanted[0] not in arrays:
        found = ", ".join(list(arrays)[:12]) or "none"
        missing = "" if name is None else f"No array {name!r}. "
        raise UsageError(f"{missing}--array names the attention; the file has: {found}.")
    array = arrays[wanted[0]]
    if not (isinstance(array, BFloat16) or np.issubdtype(array.dtype, np.floating)):
        raise InputError(f"{wanted[0]} holds {array.dtype}, not weights.")
    return array


def maps_of(name: str, array: NDArray[Any], tokens: bytes) -> HeadMaps:
    """Head maps from weights and a JSON file of tokens.

    Args:
        name: What to call whatever computed them.
        array: [n_heads, n_query, n_key] or [n_layers, n_heads, n_query, n_key], each row a
            softmax: not negative, with a sum of 1; of less where a sink took the rest, which
            becomes a note, and of 0 where every key was masked.
        tokens: A list of tokens; or an object of two, `queries` and `keys`, of two texts.

    Raises:
        InputError: Shapes, tokens or rows do not fit; it says which.
    """
    rows, columns = _said(tokens)
    if array.ndim not in (3, 4):
        raise InputError(
            f"The array has the shape {list(array.shape)}: [heads, queries, keys] or "
            "[layers, heads, queries, keys] was expected, without a batch."
        )
    layers = array if array.ndim == 4 else array[None]
    n_key = len(rows if columns is None else columns)
    if 0 in layers.shape or layers.shape[2:] != (len(rows), n_key):
        raise InputError(
            f"The array has the shape {list(array.shape)}, and there are {len(rows)} tokens for "
            f"its rows and {n_key} for its columns."
        )
    text, queries = _tokens(rows)
    source, keys = (None, queries) if columns is None else _tokens(columns)
    block: BlockName = "self" if columns is None else "cross"
    patterns = {
        (layer, head): _weights(f"L{layer}H{head}", pattern)
        for layer, heads in enumerate(layers)
        for head, pattern in enumerate(heads)
    }
    above = np.triu_indices(len(queries), 1)
    causal = source is None and len(queries) > 1
    causal = causal and not any(pattern[above].any() for pattern in patterns.values())
    mask = np.ones(layers.shape[2:], np.bool_)
    mask = np.tril(mask) if causal else mask
    maps = [
        HeadMap(f"L{layer}H{head}", block, layer, head, pattern, mask=mask)
        for (layer, head), pattern in patterns.items()
    ]
    n_layers, n_heads = layers.shape[:2]
    info = ModelInfo(name, "array", n_layers, n_heads, 0, 0, 0, "computed elsewhere")
    notes = _missing(patterns.values())
    return HeadMaps(info, "softmax", causal, text, source, queries, keys, maps, notes)


def _weights(name: str, pattern: NDArray[Any]) -> Array:
    found = float32(pattern)
    if not np.isfinite(found).all() or (found < 0).any():
        raise InputError(f"{name} holds numbers that are no weights: negative, or not finite.")
    sums = found.sum(axis=1)
    wrong = np.flatnonzero(sums > 1 + FAR)
    if len(wrong):
        raise InputError(f"{name}: row {wrong[0]} sums to {sums[wrong[0]]:.4g}, more than 1.")
    return found


def _missing(patterns: Iterable[Array]) -> tuple[str, ...]:
    """A note where rows sum to less than 1; a row without any weight is masked."""
    sums = np.concatenate([pattern.sum(axis=1) for pattern in patterns])
    least = float(sums[sums != 0].min(initial=1.0))
    if least >= 1 - FAR:
        return ()
    missing = f"{1 - least:.2f}".removeprefix("0")
    return (
        f"rows of this array sum to less than 1, {missing} is missing at most: an attention sink "
        "took it, or keys were left out",
    )


def _said(data: bytes) -> tuple[list[str], list[str] | None]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("The tokens are no JSON: a list of texts was expected.") from error
    if isinstance(found, dict):
        if set(found) != {"queries", "keys"}:
            raise InputError('The tokens are a list, or an object of "queries" and "keys".')
        return _texts(found["queries"], "queries"), _texts(found["keys"], "keys")
    return _texts(found, "The tokens"), None


def _texts(found: object, what: str) -> list[str]:
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise InputError(f"{what}: a list of texts was expected.")
    return found


def _tokens(pieces: Sequence[str]) -> tuple[str, list[Token]]:
    """A text that these pieces may have come from, and where each stands in it."""
    spelled = any(piece.startswith(_SPACES) for piece in pieces)
    text, tokens = "", []
    for i, piece in enumerate(pieces):
        special = bool(_SPECIAL.fullmatch(piece))
        plain = "" if special else piece.lstrip("".join(_SPACES))
        joined = not piece.startswith(_SPACES) if spelled else piece.startswith("##")
        plain = plain.removeprefix("##") if joined and not spelled else plain
        text += "" if joined or special or not text else " "
        tokens.append(Token(i, plain, piece, i, len(text), len(text) + len(plain), special))
        text += plain
    return text, tokens
