"""Comparisons as the JSON documents `qkv.compare/1` and `qkv.nearest/1` of docs/compare.md."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np

from qkv_cli import __version__
from qkv_cli.analysis.align import Pair
from qkv_cli.analysis.compare import Comparison, moved
from qkv_cli.analysis.nearest import Near
from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.export.document import dumps, head, map_head
from qkv_cli.views import HeadMaps

COMPARE, NEAREST = "qkv.compare/1", "qkv.nearest/1"
MOVED = 20  # cells that are told


def compare_json(pairs: Sequence[Comparison]) -> str:
    """One line of JSON; numbers are not rounded, and what is nan here is null there."""
    return dumps(
        {"schema": COMPARE, "qkv": __version__, "comparisons": [_comparison(c) for c in pairs]}
    )


def nearest_json(own: HeadMaps, others: HeadMaps, near: Sequence[Near]) -> str:
    """One line of JSON, the nearest head first.

    Args:
        own: Of the one map that others were compared with.
        others: What these are of.
    """
    found = [
        map_head(n.map)
        | {
            "divergence": _number(n.divergence),
            "cosine": _number(n.cosine),
            "pearson": _number(n.pearson),
        }
        for n in near
    ]
    return dumps(
        {
            "schema": NEAREST,
            "qkv": __version__,
            "head": _side(own),
            "among": _about(others),
            "nearest": found,
        }
    )


def _comparison(c: Comparison) -> dict[str, Any]:
    rows = _words(c.rows, c.queries)
    return {
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
        "pattern_a": _matrix(c.weights_a),
        "pattern_b": _matrix(c.weights_b),
        "difference": _matrix(c.difference),
        "moved": [
            {
                "row": m.row,
                "column": m.column,
                "query": c.queries[m.row].text,
                "key": c.keys[m.column].text,
                "a": m.a,
                "b": m.b,
                "change": m.change,
            }
            for m in moved(c, MOVED)
        ],
    }


def _about(maps: HeadMaps) -> dict[str, Any]:
    """The model, how it read, and the tokens."""
    whole = head(maps)
    return {name: whole[name] for name in whole if name not in ("schema", "qkv")}


def _side(maps: HeadMaps) -> dict[str, Any]:
    [m] = maps.maps
    return map_head(m) | _about(maps)


def _words(pairs: Sequence[Pair], names: Sequence[Token]) -> list[dict[str, Any]]:
    return [
        {"text": name.text, "a": pair.a, "b": pair.b}
        for pair, name in zip(pairs, names, strict=True)
    ]


def _number(x: float) -> float | None:
    return None if isnan(x) else x


def _matrix(x: Array) -> Any:
    """Rows of numbers, null where there is none."""
    found = x.astype(object)
    found[np.isnan(x)] = None
    return found.tolist()
