"""Hand-made and random (hypothesis) head maps."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import qkv_cli.export
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.export.attention import to_json, to_npz
from qkv_cli.maps.head_maps import FIELDS, HeadMap, HeadMaps

SCHEMA = json.loads(
    (Path(qkv_cli.export.__file__).parent / "attention.schema.json").read_text(encoding="utf-8")
)
VALID = jsonschema.Draft202012Validator(SCHEMA)
# No deadline: a busy machine must not fail the test.
quick = settings(max_examples=50, deadline=None)
ARRAYS = ("pattern", "scores", "q", "k", "v", "z")


def f32(rows: Any) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def example() -> HeadMaps:
    """Two heads on three words, the second of which the vocabulary lacks."""
    info = ModelInfo("tiny", "word-vectors", 1, 8, 4, 2, 100, "learned in a test", "A toy", "MIT")
    tokens = [
        Token(0, "The", "the", 7, 0, 3),
        Token(1, "Zzyx", "[UNK]", 99, 4, 8, unknown=True),
        Token(2, "bank", "bank", 12, 9, 13),
    ]
    scores = f32([[-np.inf, 0.25, 1.5], [0.1, -np.inf, -2], [3, 1e-9, -np.inf]])
    pattern = f32(
        [[0, 0.22270015, 0.7772998], [0.8909032, 0, 0.10909681], [0.95257413, 0.047425874, 0]]
    )
    q, k = f32([[1, 0.5], [0.1, 2], [0, -1]]), f32([[0.3, 0.7], [1, 1], [-0.5, 0.2]])
    v = f32([[2, -1], [0.25, 0.75], [1, 0]])
    z = f32([[0.83297485, 0.16702512], [1.8909031, -0.8909032], [1.9170047, -0.9170047]])
    arrays = (pattern, scores, q, k, v, z)
    turned = (x[::-1, ::-1] if x.shape == (3, 3) else x[::-1] for x in arrays)
    mask = ~np.eye(3, dtype=np.bool_)  # a word cannot attend to itself
    maps = [
        HeadMap("L0H3", "self", 0, 3, *arrays, mask=mask),
        HeadMap("L0H5", "self", 0, 5, *turned, mask=mask),
    ]
    return HeadMaps(info, "softmax", False, "The Zzyx bank", None, tokens, tokens, maps)


def two_texts() -> HeadMaps:
    """From three queries to two keys."""
    one_text = example()
    keys = [Token(0, "a", "a", 3, 0, 1), Token(1, "tree", "tree", 4, 2, 6)]
    m = one_text.maps[0]
    cut = replace(m.part([0, 1, 2], [0, 1]), block="cross")
    return replace(one_text, source="a tree", keys=keys, maps=[cut])


def same(a: HeadMaps, b: HeadMaps) -> bool:
    """Return whether all fields are equal and all arrays identical."""
    for field in fields(HeadMaps):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name in ("queries", "keys"):
            x, y = list(x), list(y)
        if field.name != "maps" and x != y:
            return False
    return len(a.maps) == len(b.maps) and all(map(_same_map, a.maps, b.maps))


def _same_map(a: HeadMap, b: HeadMap) -> bool:
    for field in fields(HeadMap):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if (x is None) != (y is None) or (x is not None and not np.array_equal(x, y)):
            return False
    return True


def only(maps: HeadMaps, include: tuple[str, ...]) -> HeadMaps:
    """The maps that can be read back if only these arrays are written."""
    dropped = {name: None for name in ARRAYS[1:] if name not in include}
    return replace(maps, maps=[replace(m, **dropped) for m in maps.maps])


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Python turns command-line bytes that are not UTF-8 into lone surrogates.
any_text = st.text(
    st.one_of(st.characters(), st.sampled_from("\x00\x1b\x7f\x85\u202e\udc80\u2028"))
)


@st.composite
def head_maps(draw: st.DrawFn) -> HeadMaps:
    """Generate head maps with any text, any finite float32 and any mask."""
    n_query = draw(st.integers(1, 4))
    text, source = draw(any_text), draw(st.one_of(st.none(), any_text))
    queries = draw(_tokens(n_query, len(text)))
    n_key = n_query if source is None else draw(st.integers(1, 4))
    keys = queries if source is None else draw(_tokens(n_key, len(source)))
    d_head, n_heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    info = ModelInfo(draw(any_text), "t", 2, n_heads, 4, d_head, 9, draw(any_text), "", "")

    def matrix(rows: int, columns: int, numbers: st.SearchStrategy[float] = finite) -> np.ndarray:
        row = st.lists(numbers, min_size=columns, max_size=columns)
        return f32(draw(st.lists(row, min_size=rows, max_size=rows)))

    def head_map(head: int) -> HeadMap:
        mask = matrix(n_query, n_key, st.sampled_from([0.0, 1.0])) > 0
        return HeadMap(
            f"L1H{head}",
            "self" if source is None else "cross",
            1,
            head,
            np.where(mask, matrix(n_query, n_key), np.float32(0)),
            np.where(mask, matrix(n_query, n_key), np.float32(-np.inf)),
            matrix(n_query, d_head),
            matrix(n_key, d_head),
            matrix(n_key, d_head),
            matrix(n_query, d_head),
            mask=mask,
        )

    maps = [head_map(head) for head in range(n_heads)]
    quantity = draw(st.sampled_from(sorted(FIELDS)))
    if (field := FIELDS[quantity]) not in ARRAYS:
        maps = [replace(m, **{field: matrix(n_query, n_key)}) for m in maps]
    weighting = draw(st.sampled_from(["softmax", "hard", "linear"]))
    causal = draw(st.booleans())
    return HeadMaps(info, weighting, causal, text, source, queries, keys, maps, shown=quantity)


@st.composite
def _tokens(draw: st.DrawFn, count: int, length: int) -> list[Token]:
    def token(i: int) -> Token:
        start, end = sorted([draw(st.integers(0, length)), draw(st.integers(0, length))])
        return Token(
            i, draw(any_text), draw(any_text), draw(st.integers(0, 2**40)), start, end,
            draw(st.booleans()), draw(st.booleans()),
        )  # fmt: skip

    return [token(i) for i in range(count)]


@cache
def to_bytes(kind: str) -> bytes:
    """The example as the bytes of a file, json or npz."""
    archive = to_npz(example(), ARRAYS[1:])
    return archive if kind == "npz" else to_json(example(), ARRAYS[1:]).encode()
