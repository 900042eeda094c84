"""Comparisons as the JSON documents `qkv.compare/1` and `qkv.nearest/1` of docs/compare.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isnan
from typing import Any

import numpy as np

from qkv_cli import __version__
from qkv_cli.analysis.compare import Comparison, Pair, SimilarHead, largest_changes, name_pairs
from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.errors import InputError
from qkv_cli.export.document import SHOWN, dumps, head, in_rows, map_head
from qkv_cli.export.parse import about_of, bare_map, check_schema, numbers
from qkv_cli.maps.head_maps import FIELDS, HeadMaps

COMPARE, NEAREST = "qkv.compare/1", "qkv.nearest/1"
MOVED = 20  # cells that are listed


def compare_pieces(pairs: Sequence[Comparison]) -> Iterator[str]:
    """Yield one line of JSON in pieces, with unrounded numbers; NaN becomes null."""
    yield dumps({"schema": COMPARE, "qkv": __version__})[:-1] + ',"comparisons":['
    for index, c in enumerate(pairs):
        yield "," * bool(index)
        yield from _comparison(c)
    yield "]}\n"


def nearest_json(reference: HeadMaps, candidates: HeadMaps, nearest: Sequence[SimilarHead]) -> str:
    """Return one line of JSON, with the most similar head first.

    Args:
        reference: The head that they are compared with, as the only map.
        candidates: The side whose heads are ranked.
        nearest: The ranked heads.
    """
    similar_heads = [
        map_head(n.map)
        | {
            "divergence": _number(n.divergence),
            "cosine": _number(n.cosine),
            "pearson": _number(n.pearson),
        }
        for n in nearest
    ]
    return dumps(
        {
            "schema": NEAREST,
            "qkv": __version__,
            "head": _side(reference),
            "among": _about(candidates),
            "nearest": similar_heads,
        }
    )


def read_compare(document: dict[str, Any]) -> list[Comparison]:
    """Read a document of `compare_json`.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    check_schema(document, "compare")
    return [_read_comparison(c) for c in document["comparisons"]]


def read_nearest(document: dict[str, Any]) -> tuple[HeadMaps, HeadMaps, list[SimilarHead]]:
    """Read a document of `nearest_json`: the reference head, the candidates, and the ranked heads.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    check_schema(document, "nearest")
    candidates = about_of(document["among"])
    nearest = [
        SimilarHead(
            bare_map(n, candidates),
            *(_nan(n[figure]) for figure in ("divergence", "cosine", "pearson")),
        )
        for n in document["nearest"]
    ]
    return _read_side(document["head"]), candidates, nearest


def _read_comparison(c: dict[str, Any]) -> Comparison:
    a, b = _read_side(c["a"]), _read_side(c["b"])
    shape, shown = (len(c["rows"]), len(c["columns"])), FIELDS[a.shown]
    rows, columns = (_pairs(c[name], a, b, name) for name in ("rows", "columns"))
    if b.shown != a.shown or f"{shown}_a" not in c:
        raise InputError(
            f'"shown" is {SHOWN[a.shown]!r} in "a" and {SHOWN[b.shown]!r} in "b"; expected the '
            f'same, and "{shown}_a".'
        )
    a_values, b_values, difference = (
        numbers(name, c[name], shape, null=np.nan)
        for name in (f"{shown}_a", f"{shown}_b", "difference")
    )
    return Comparison(
        a=a,
        b=b,
        rows=rows,
        columns=columns,
        queries=name_pairs(rows, a.queries, b.queries),
        keys=name_pairs(columns, a.keys, b.keys),
        weights_a=a_values,
        weights_b=b_values,
        difference=difference,
        differs=bool(np.nan_to_num(difference).any()),
        divergence=np.array([_nan(row["divergence"]) for row in c["rows"]]),
        cosine=_nan(c["cosine"]),
        pearson=_nan(c["pearson"]),
    )


def _pairs(words: Sequence[dict[str, Any]], a: HeadMaps, b: HeadMaps, name: str) -> list[Pair]:
    """Return the pairs of rows or columns, with their indices checked."""
    sides = (a.queries, b.queries) if name == "rows" else (a.keys, b.keys)
    for side, tokens in zip("ab", sides, strict=True):
        if any(word[side] is not None and word[side] >= len(tokens) for word in words):
            raise InputError(
                f'"{name}" has an index into "{side}" that is out of range '
                f"(0 to {len(tokens) - 1})."
            )
    return [Pair(word["a"], word["b"]) for word in words]


def _read_side(side: dict[str, Any]) -> HeadMaps:
    about = about_of(side)
    return replace(about, maps=[bare_map(side, about)])


def _nan(x: float | None) -> float:
    return float("nan") if x is None else float(x)


def _comparison(c: Comparison) -> Iterator[str]:
    rows, shown = _words(c.rows, c.queries), FIELDS[c.a.shown]
    figures = {
        "a": _side(c.a),
        "b": _side(c.b),
        "divergence": _number(c.mean_divergence),
        "cosine": _number(c.cosine),
        "pearson": _number(c.pearson),
        "rows": [
            row | {"divergence": _number(float(bits))}
            for row, bits in zip(rows, c.divergence, strict=True)
        ],
        "columns": _words(c.columns, c.keys),
    }
    moved = [
        {
            "row": m.row,
            "column": m.column,
            "query": c.queries[m.row].name,
            "key": c.keys[m.column].name,
            "a": m.a,
            "b": m.b,
            "change": m.change,
        }
        for m in largest_changes(c, MOVED)
    ]
    yield dumps(figures)[:-1]
    matrices = {f"{shown}_a": c.weights_a, f"{shown}_b": c.weights_b, "difference": c.difference}
    for name, matrix in matrices.items():
        yield f',"{name}":'
        yield from in_rows(matrix, lambda block: dumps(_cells(block))[1:-1])
    yield f',"moved":{dumps(moved)}}}'


def _about(maps: HeadMaps) -> dict[str, Any]:
    """Return the model, the options of the reading, and the tokens."""
    document = head(maps)
    return {name: document[name] for name in document if name not in ("schema", "qkv")}


def _side(maps: HeadMaps) -> dict[str, Any]:
    [m] = maps.maps
    return map_head(m) | _about(maps)


def _words(pairs: Sequence[Pair], names: Sequence[Token]) -> list[dict[str, Any]]:
    return [
        {"text": name.name, "a": pair.a, "b": pair.b}
        for pair, name in zip(pairs, names, strict=True)
    ]


def _number(x: float) -> float | None:
    return None if isnan(x) else x


def _cells(x: Array) -> Any:
    """Return rows of numbers, with null for NaN."""
    cells = x.astype(object)
    cells[np.isnan(x)] = None
    return cells.tolist()
