"""An explanation as the JSON document `qkv.explain/1` of docs/json.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from qkv_cli.analysis.explain import Explanation, Projection
from qkv_cli.core.arrays import Array, float64
from qkv_cli.export.document import dumps, head, map_head
from qkv_cli.views import HeadMaps

SCHEMA = "qkv.explain/1"


def explain_json(maps: HeadMaps, x: Explanation) -> str:
    """One line of JSON; numbers are not rounded, and a masked score is null.

    Args:
        maps: The texts and the one head's map that was explained.
    """
    [m] = maps.maps
    pair = {"query": x.query, "key": x.key}
    return dumps(head(maps) | {"schema": SCHEMA} | map_head(m) | pair | _numbers(x))


def _numbers(x: Explanation) -> dict[str, Any]:
    out = x.output
    return {
        "e_query": _list(x.e_query),
        "e_key": _list(x.e_key),
        **_projection("q", x.q),
        **_projection("k", x.k),
        **_projection("v", x.v),
        "products": _list(x.products),
        "dot": x.dot,
        "scale": x.scale,
        "terms": {name: _list(row) for name, row in x.terms.items()},
        "scores": _list(x.scores),
        "masked": list(x.masked),
        "score": _list(x.scores)[x.key],
        "exps": _list(x.exps) if x.weighting == "softmax" else None,
        "pattern": _list(x.pattern),
        "weight": x.weight,
        "shares": _list(x.shares),
        "along": _list(x.along),
        "z": _list(x.z),
        "z_heads": _list(x.z_heads),
        "output_pair": _list(out.pair),
        "output_words": _list(out.words),
        "output_heads": _list(out.heads),
        "b_O": None if out.bias is None else _list(out.bias),
        "output": _list(out.total),
    }


def _projection(name: str, p: Projection) -> dict[str, Any]:
    upper = name.upper()
    return {
        f"W_{upper}_e": _list(p.product),
        f"b_{upper}": None if p.bias is None else _list(p.bias),
        name: _list(p.result),
    }


def _list(x: Array) -> Any:
    """Nested lists of numbers, null for -inf."""
    found = float64(x).astype(object)
    found[np.isneginf(x)] = None
    return found.tolist()
