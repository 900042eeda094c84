"""Attention that was computed elsewhere: an array and the tokens it is about, as head maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, BFloat16, Packed, Stored, float32
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.strict_json import parse
from qkv_cli.errors import InputError, UsageError
from qkv_cli.export.spelling import tokens_of
from qkv_cli.views import BlockName, HeadMap, HeadMaps

FAR = 0.01  # from 1, for a row's sum in float16 or bfloat16


def one_of(arrays: Mapping[str, Stored], name: str | None) -> NDArray[Any]:
    """The array that is meant.

    Args:
        name: What `--array` says; without it there must be one, or one called attention.

    Raises:
        UsageError: It cannot be told which; the message names those there are.
        CheckpointError: Its type is not implemented.
    """
    called = [n for n in arrays if n in ("attention", "attentions", "pattern")]
    wanted = [name] if name is not None else called if len(arrays) > 1 else list(arrays)
    if len(wanted) != 1 or wanted[0] not in arrays:
        found = ", ".join(list(arrays)[:12]) or "none"
        missing = "" if name is None else f"The file has no array {name!r}. "
        raise UsageError(f"{missing}Choose an array with --array NAME: {found}.")
    array = arrays[wanted[0]]
    if isinstance(array, Packed):
        return array.unpack()
    if not (isinstance(array, BFloat16) or np.issubdtype(array.dtype, np.floating)):
        raise InputError(
            f"array {wanted[0]!r} has dtype {array.dtype}; expected floating-point weights."
        )
    return array


def maps_of(name: str, array: NDArray[Any], tokens: bytes) -> HeadMaps:
    """Head maps from weights and a JSON file of tokens.

    Args:
        name: What to call whatever computed them.
        array: One map, the heads of one layer, or those of several layers, see `_by_layer`; each
            row a softmax: not negative, with a sum of 1; of less where a sink took the rest, which
            becomes a note, and of 0 where every key was masked.
        tokens: A list of tokens; or an object of two, `queries` and `keys`, of two texts.

    Raises:
        InputError: Shapes, tokens or rows do not fit; it says which.
    """
    rows, columns = _said(tokens)
    layers = _by_layer(array)
    n_key = len(rows if columns is None else columns)
    if 0 in layers.shape or layers.shape[2:] != (len(rows), n_key):
        raise InputError(
            f"the array has shape {list(array.shape)}; --tokens implies {len(rows)} rows and "
            f"{n_key} columns."
        )
    text, queries = tokens_of(rows)
    source, keys = (None, queries) if columns is None else tokens_of(columns)
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


def _by_layer(array: NDArray[Any]) -> NDArray[Any]:
    """[n_layers, n_heads, n_query, n_key], from an array that may lack the first one or two axes,
    or have a batch of one text after the layers.
    """
    if array.ndim == 5 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim not in (2, 3, 4):
        raise InputError(
            f"the array has shape {list(array.shape)}; expected [queries, keys], [heads, queries, "
            "keys], [layers, heads, queries, keys] or [layers, 1, heads, queries, keys]."
        )
    return array[(None,) * (4 - array.ndim)]


def _weights(name: str, pattern: NDArray[Any]) -> Array:
    found = float32(pattern)
    if not np.isfinite(found).all() or (found < 0).any():
        raise InputError(f"{name} contains NaN, infinity or negative numbers; expected weights.")
    sums = found.sum(axis=1)
    wrong = np.flatnonzero(sums > 1 + FAR)
    if len(wrong):
        raise InputError(f"row {wrong[0]} of {name} sums to {sums[wrong[0]]:.4g}, more than 1.")
    return found


def _missing(patterns: Iterable[Array]) -> tuple[str, ...]:
    """A note where rows sum to less than 1; a row without any weight is masked."""
    sums = np.concatenate([pattern.sum(axis=1) for pattern in patterns])
    least = float(sums[sums != 0].min(initial=1.0))
    if least >= 1 - FAR:
        return ()
    missing = f"{1 - least:.2f}".removeprefix("0")
    return (
        f"rows of this array sum to less than 1, by at most {missing}: an attention sink has the "
        "rest, or keys were left out",
    )


def _said(data: bytes) -> tuple[list[str], list[str] | None]:
    try:
        found = parse(data)
    except ValueError as error:
        raise InputError(f"--tokens is not valid JSON: {error}.") from error
    if isinstance(found, dict):
        if set(found) != {"queries", "keys"}:
            raise InputError(
                '--tokens has other keys than "queries" and "keys"; expected an array of strings, '
                "or an object with these two."
            )
        return _texts(found["queries"], "queries"), _texts(found["keys"], "keys")
    return _texts(found, "--tokens"), None


def _texts(found: object, what: str) -> list[str]:
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise InputError(f"{what} is not a list of tokens; expected an array of strings.")
    return found
