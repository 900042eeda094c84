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

    scores, z_heads = _array(document, "scores", n_key), _array(document, "z_heads", None, d_head)
    if len(document["masked"]) != n_key or document["head"] >= len(z_heads):
        raise InputError('"masked" or "z_heads" does not match the number of keys or of heads.')
    largest = scores.max()
    x = Explanation(
        weighting=about.weighting,
        head=document["head"],
        n_heads=len(z_heads),
        query=query,
        key=key,
        between_texts=about.source is not None,
        e_query=_array(document, "e_query", d_model),
        e_key=_array(document, "e_key", d_model),
        q=_read_projection(document, "q", d_head),
        k=_read_projection(document, "k", d_head),
        v=_read_projection(document, "v", d_head),
        products=_array(document, "products", d_head),
        scale=document["scale"],
        norms=document["norms"],
        rotates=document["rotates"],
        terms={name: _array(document["terms"], name, n_key) for name in document["terms"]},
        scores=scores,
        masked=document["masked"],
        exps=np.exp(scores - largest) if np.isfinite(largest) else np.zeros(n_key),
        pattern=_array(document, "pattern", n_key),
        shares=_array(document, "shares", n_key, d_head),
        z=_array(document, "z", d_head),
        along=_array(document, "along", n_key),
        z_heads=z_heads,
        output=_read_output(document, d_model),
    )
    return replace(about, maps=[_read_map(document, x, len(about.queries))]), x


def _array(fields: dict[str, Any], name: str, *shape: int | None) -> Array:
    """Return a field as an array; null becomes -inf."""
    return numbers(name, fields[name], shape, null=-np.inf)


def _read_projection(document: dict[str, Any], name: str, d_head: int) -> Projection:
    bias = f"b_{name.upper()}"
    return Projection(
        product=_array(document, f"W_{name.upper()}_e", d_head),
        bias=None if document[bias] is None else _array(document, bias, d_head),
        result=_array(document, name, d_head),
    )


def _read_output(document: dict[str, Any], d_model: int) -> Output:
    return Output(
        pair=_array(document, "output_pair", d_model),
        words=_array(document, "output_words", d_model),
        heads=_array(document, "output_heads", d_model),
        bias=None if document["b_O"] is None else _array(document, "b_O", d_model),
        total=_array(document, "output", d_model),
    )


def _read_map(document: dict[str, Any], x: Explanation, n_query: int) -> HeadMap:
    """Return the map of the head, with weights only in the row of the query."""
    pattern = np.zeros((n_query, len(x.pattern)), np.float32)
    pattern[x.query] = x.pattern
    mask = np.ones(pattern.shape, np.bool_)
    mask[x.query] = [reason is None for reason in x.masked]
    return HeadMap(
        name=document["name"],
        block=document["block"],
        layer=document["layer"],
        head=document["head"],
        pattern=pattern,
        mask=mask,
    )


def _numbers(x: Explanation) -> dict[str, Any]:
    output = x.output
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
        "output_pair": _list(output.pair),
        "output_words": _list(output.words),
        "output_heads": _list(output.heads),
        "b_O": None if output.bias is None else _list(output.bias),
        "output": _list(output.total),
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
