"""A token's row or column as the JSON document `qkv.focus/1` of docs/json.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from qkv_cli.analysis.focus import Focus, strongest
from qkv_cli.core.arrays import Array
from qkv_cli.export.document import dumps, head, map_head
from qkv_cli.export.numbers import shortest
from qkv_cli.views import HeadMap

SCHEMA = "qkv.focus/1"


def focus_json(f: Focus, top: int) -> str:
    """One line of JSON; a weight that cannot be is null.

    Args:
        top: How many of a head's strongest are told in words.
    """
    return dumps(
        head(f.maps)
        | {
            "schema": SCHEMA,
            "side": f.side,
            "i": f.token.i,
            "heads": [_head(f, m, w, top) for m, w in zip(f.maps.maps, f.weights, strict=True)],
            "mean": _list(f.mean),
        }
    )


def _head(f: Focus, m: HeadMap, weights: Array, top: int) -> dict[str, Any]:
    numbers = _list(weights)
    told = [
        {"i": f.others[at].i, "text": f.others[at].text, "weight": numbers[at]}
        for at in strongest(weights, top).places
    ]
    return map_head(m) | {"weights": numbers, "top": told}


def _list(weights: Array) -> list[float | None]:
    numbers = shortest(np.nan_to_num(weights)).tolist()
    return [None if np.isnan(w) else x for w, x in zip(weights, numbers, strict=True)]
