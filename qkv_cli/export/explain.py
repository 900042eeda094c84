"""An explanation as the JSON document `qkv.explain/1` of docs/json.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from qkv_cli.analysis.explain import Explanation, Output, Projection
from qkv_cli.core.arrays import Array, float64
from qkv_cli.errors import InputError
from qkv_cli.export.document import dumps, head, map_head
from qkv_cli.export.parse import about_of, check_schema, numbers
from qkv_cli.maps.head_maps import HeadMap, HeadMaps

SCHEMA = "qkv.explain/1"


def explain_json(maps: HeadMaps, x: Explanation) -> str:
    """Return one line of JSON, with unrounded numbers; masked scores are null.

    Args:
        maps: The texts, and the map of the head.
    """
    [m] = maps.maps
    pair = {"query": x.query, "key": x.key}
    return dumps(head(maps) | {"schema": SCHEMA} | map_head(m) | pair | _numbers(x))


def read_explain(document: dict[str, Any]) -> tuple[HeadMaps, Explanation]:
    """Read a document of `explain_json`.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    check_schema(document, "explain")
    about = about_of(document)
    query, key = int(document["query"]), int(document["key"])
    n_key, d_head, d_model = (len(document[name]) for name in ("pattern", "products", "e_query"))
    if n_key != len(about.keys) or query >= len(about.queries):
        raise InputError(
            f'"pattern" or "query" does not match the {len(about.queries)} queries and '
            f"{len(about.keys)} keys."
        )
    if key >= n_key:
        raise InputError(f'"key" is {key}, out of range (0 to {n_key - 1}).')

    def vector(name: str, *shape: int | None, value: object = ()) -> Array:
        return numbers(name, document[name] if value == () else value, shape, null=-np.inf)

    def projection(name: str) -> Projection:
        bias = f"b_{name.upper()}"
        return Projection(
            product=vector(f"W_{name.upper()}_e", d_head),
            bias=None if document[bias] is None else vector(bias, d_head),
            result=vector(name, d_head),
        )

    scores, z_heads = vector("scores", n_key), vector("z_heads", None, d_head)
    if len(document["masked"]) != n_key or document["head"] >= len(z_heads):
        raise InputError('"masked" or "z_heads" does not match the number of keys or of heads.')
    top = scores.max()
    pattern = np.zeros((len(about.queries), n_key), np.float32)
    pattern[query] = vector("pattern", n_key)
    mask = np.ones(pattern.shape, np.bool_)
    mask[query] = [reason is None for reason in document["masked"]]
    block, layer = document["block"], document["layer"]
    m = HeadMap(
        name=document["name"],
        block=block,
        layer=layer,
        head=document["head"],
        pattern=pattern,
        mask=mask,
    )
    x = Explanation(
        weighting=about.weighting,
        head=document["head"],
        n_heads=len(z_heads),
        query=query,
        key=key,
        between_texts=about.source is not None,
        e_query=vector("e_query", d_model),
        e_key=vector("e_key", d_model),
        q=projection("q"),
        k=projection("k"),
        v=projection("v"),
        products=vector("products", d_head),
        scale=document["scale"],
        norms=document["norms"],
        rotates=document["rotates"],
        terms={name: vector(name, n_key, value=row) for name, row in document["terms"].items()},
        scores=scores,
        masked=document["masked"],
        exps=np.exp(scores - top) if np.isfinite(top) else np.zeros(n_key),
        pattern=vector("pattern", n_key),
        shares=vector("shares", n_key, d_head),
        z=vector("z", d_head),
        along=vector("along", n_key),
        z_heads=z_heads,
        output=Output(
            pair=vector("output_pair", d_model),
            words=vector("output_words", d_model),
            heads=vector("output_heads", d_model),
            bias=None if document["b_O"] is None else vector("b_O", d_model),
            total=vector("output", d_model),
        ),
    )
    return replace(about, maps=[m]), x


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
        "norms": x.norms,
        "rotates": x.rotates,
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
    """Return nested lists of numbers, with null for -inf."""
    values = float64(x).astype(object)
    values[np.isneginf(x)] = None
    return values.tolist()
