"""A token's row or column as the JSON document `qkv.focus/1` of docs/json.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from qkv_cli.analysis.focus import Focus, strongest_weights
from qkv_cli.core.arrays import Array
from qkv_cli.errors import InputError
from qkv_cli.export.document import dumps, head, map_head, shortest
from qkv_cli.export.parse import about_of, bare_map, check_schema, numbers
from qkv_cli.maps.head_maps import HeadMap

SCHEMA = "qkv.focus/1"


def focus_json(f: Focus, top: int) -> str:
    """Return one line of JSON; masked weights are null.

    Args:
        top: The number of strongest weights to list per head.
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


def read_focus(document: dict[str, Any]) -> tuple[Focus, int]:
    """Read a document of `focus_json`; also return how many weights it lists per head.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    check_schema(document, "focus")
    about, side, heads = about_of(document), document["side"], document["heads"]
    tokens = about.queries if side == "query" else about.keys
    places = [at for at, token in enumerate(tokens) if token.i == document["i"]]
    if not places:
        raise InputError(f'"i" is {document["i"]}, which is not the index of a {side}.')
    n = len(about.keys if side == "query" else about.queries)
    maps = [bare_map(m, about) for m in heads]
    weights = [numbers(f"{m['name']:.60}.weights", m["weights"], [n], null=np.nan) for m in heads]
    mean = numbers("mean", document["mean"], [n], null=np.nan)
    n_top = max(1, *(len(m["top"]) for m in heads))
    return Focus(
        maps=replace(about, maps=maps),
        side=side,
        at=places[0],
        weights=np.stack(weights),
        mean=mean,
    ), n_top


def _head(f: Focus, m: HeadMap, weights: Array, top: int) -> dict[str, Any]:
    numbers = _list(weights)
    strongest = [
        {"i": f.others[at].i, "text": f.others[at].name, "weight": numbers[at]}
        for at in strongest_weights(weights, top).places
    ]
    return map_head(m) | {"weights": numbers, "top": strongest}


def _list(weights: Array) -> list[float | None]:
    numbers = shortest(np.nan_to_num(weights)).tolist()
    return [None if np.isnan(w) else x for w, x in zip(weights, numbers, strict=True)]
