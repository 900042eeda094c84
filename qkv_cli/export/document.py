"""Head maps as the JSON document of docs/json.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli import __version__
from qkv_cli.core.arrays import Array
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.errors import InputError, UsageError
from qkv_cli.maps.head_maps import FIELDS, HeadMap, HeadMaps
from qkv_cli.maps.matrix import LazyMatrix, Matrix, row_blocks
from qkv_cli.names import Show


def shortest(x: Array) -> NDArray[np.float64]:
    """Return the double nearest to the shortest decimal of each float32.

    Six to nine significant digits are tried; nine always suffice. Dividing a whole number by a
    power of ten up to 10**22 is correctly rounded, so each trial equals the double that a parser
    returns for the decimal. Numbers outside that range keep all digits.
    """
    x = np.asarray(x, dtype=np.float32)
    rounded = x.astype(np.float64)
    magnitude = np.abs(rounded)
    pending = np.flatnonzero((magnitude >= 1e-13) & (magnitude < 1e9))
    exponent = np.floor(np.log10(magnitude.flat[pending]))
    for digits in (6, 7, 8, 9):
        power = 10.0 ** np.clip(digits - 1 - exponent, 0, 22)
        trial = np.rint(rounded.flat[pending] * power) / power
        is_exact = trial.astype(np.float32) == x.flat[pending]
        rounded.flat[pending[is_exact]] = trial[is_exact]
        pending, exponent = pending[~is_exact], exponent[~is_exact]
    return rounded


def decimals(matrix: Array) -> list[str]:
    """Return each row of [n_rows, n_columns] as comma-separated numbers; -inf stays `-inf`.

    One format call per row takes a third of the time of one call per number.
    """
    template = ",".join(["%.9g"] * matrix.shape[1])
    return [template % tuple(row) for row in shortest(matrix).tolist()]


SCHEMA = "qkv.attention/1"
INCLUDABLE = ("scores", "q", "k", "v", "z")
# The names of quantities in documents: version 0.1 and scripts use "values" for contributions.
SHOWN: Mapping[Show, str] = {show: show for show in FIELDS} | {"contributions": "values"}
MATRICES = (*INCLUDABLE, "norms", "rollout")  # the arrays of a map other than its pattern


def arrays(m: HeadMap, include: Collection[str], quantity: Show) -> dict[str, Matrix]:
    """Return the arrays of a map to write: pattern, the quantity shown, and `include`.

    Raises:
        UsageError: A requested array does not exist, or the map lacks it.
        InputError: A number is NaN or infinite, except masked scores. Those of a long text are
            checked when they are read.
    """
    if unknown := [name for name in include if name not in INCLUDABLE]:
        raise UsageError(f"Unknown array {unknown[0]!r}: --include takes {', '.join(INCLUDABLE)}.")
    selected: dict[str, Matrix] = {"pattern": m.pattern}
    for name in MATRICES:
        if name in include or name == FIELDS[quantity]:
            if (array := getattr(m, name)) is None:
                raise UsageError(f"{m.name} has no {name}: --include {name} does not apply to it.")
            selected[name] = array
    for name, array in selected.items():
        if isinstance(array, LazyMatrix):
            continue
        is_masked = ~m.mask[:] & np.isneginf(array) if name == "scores" else False
        if not (np.isfinite(array) | is_masked).all():
            raise InputError(f"{m.name}.{name} contains NaN or infinity.")
    return selected


def head(maps: HeadMaps) -> dict[str, Any]:
    """Return the fields of a document other than its maps."""
    source = {} if maps.source is None else {"source": maps.source}
    pair = {} if maps.pair is None else {"pair": maps.pair}
    return {
        "schema": SCHEMA,
        "qkv": __version__,
        "model": _model(maps.model),
        "weighting": maps.weighting,
        "causal": maps.causal,
        "shown": SHOWN[maps.shown],
        **({"ablated": maps.ablated} if maps.ablated else {}),
        "text": maps.text,
        **source,
        **pair,
        **({"notes": list(maps.notes)} if maps.notes else {}),
        "queries": _tokens(maps.queries, paired=maps.pair is not None),
        "keys": _tokens(maps.keys, paired=maps.pair is not None),
    }


def map_head(m: HeadMap) -> dict[str, Any]:
    """Return the fields of a map other than its arrays."""
    return {"name": m.name, "block": m.block, "layer": m.layer, "head": m.head}


def document_pieces(maps: HeadMaps, include: Collection[str]) -> Iterator[str]:
    """Yield the text of a document, one map at a time.

    Raises:
        UsageError, InputError: See `arrays`; raised before the first piece.
    """
    checked = [arrays(m, include, maps.shown) for m in maps.maps]
    yield dumps(head(maps))[:-1] + ',"maps":['
    for index, (m, selected) in enumerate(zip(maps.maps, checked, strict=True)):
        yield f"{',' if index else ''}{dumps(map_head(m))[:-1]}"
        for name, array in selected.items():
            yield f',"{name}":'
            yield from _matrix(array)
        if not all(m.mask[rows].all() for rows in row_blocks(m.mask)):
            yield ',"mask":'
            yield from in_rows(m.mask, lambda block: dumps(block.tolist())[1:-1])
        yield "}"
    yield "]}"


TEXT_CELLS = 1 << 18  # numbers that are written at once: as text they take 20 times the memory


def dumps(value: object) -> str:
    """Return compact ASCII JSON, without control characters or unpaired surrogates."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _matrix(matrix: Matrix) -> Iterator[str]:
    def rows(block: Array) -> str:
        numbers = "],[".join(decimals(block))
        return f"[{numbers.replace('-inf', 'null')}]"

    return in_rows(matrix, rows)


def in_rows(matrix: Matrix, rows_of: Callable[[NDArray[Any]], str]) -> Iterator[str]:
    """Yield a JSON array of rows, block by block."""
    yield "["
    for rows in row_blocks(matrix, TEXT_CELLS):
        yield f"{',' if rows.start else ''}{rows_of(matrix[rows])}"
    yield "]"


def _model(info: ModelInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "type": info.type,
        "layers": info.n_layers,
        "heads": info.n_heads,
        "d_model": info.d_model,
        "d_head": info.d_head,
        "d_vocab": info.d_vocab,
        "origin": info.origin,
        "about": info.about,
        "licence": info.licence,
    }


def _tokens(tokens: Sequence[Token], *, paired: bool) -> list[dict[str, Any]]:
    return [
        {
            "i": t.i,
            "text": t.text,
            "token": t.token,
            "id": t.id,
            "start": t.start,
            "end": t.end,
            "special": t.special,
            "unknown": t.unknown,
            **({"segment": t.segment} if paired else {}),
        }
        for t in tokens
    ]
