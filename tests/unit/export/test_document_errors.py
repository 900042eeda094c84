"""Invalid documents raise an error of one line that names the problem and the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from export_examples import ARRAYS, VALID, example, quick, to_bytes, two_texts
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.errors import InputError
from qkv_cli.export.attention import from_json, read_maps, to_json

Break = Callable[[dict[str, Any]], object]


def _set(*path: Any) -> Break:
    *way, last, value = path

    def change(document: dict[str, Any]) -> None:
        for key in way:
            document = document[key]
        document[last] = value

    return change


def _drop(*path: Any) -> Break:
    *way, last = path

    def change(document: dict[str, Any]) -> None:
        for key in way:
            document = document[key]
        del document[last]

    return change


# A change to a valid document, part of the error, and whether the JSON Schema refuses it too.
BROKEN: list[tuple[Break, str, bool]] = [
    (_drop("schema"), "\"schema\" is missing; this version of qkv reads 'qkv.attention/1'", True),
    (
        _set("schema", "qkv.attention/2"),
        "\"schema\" is 'qkv.attention/2'; this version of qkv reads",
        True,
    ),
    (_drop("model"), 'the document has no "model"', True),
    (_set("model", []), '"model" is an array; expected an object', True),
    (_drop("model", "origin"), 'model has no "origin"', True),
    (_set("model", "heads", -1), "model.heads is -1, out of range (0 to 4096)", True),
    (_set("model", "layers", 10**9), "model.layers is 1000000000, out of range (0 to 4096)", True),
    (_set("model", "d_head", 10**400), "model.d_head is a huge number", True),
    (_set("model", "d_head", 2.5), "model.d_head is a number; expected an integer", True),
    (_set("model", "d_head", True), "model.d_head is true or false; expected an integer", True),
    (_set("weighting", "soft"), "\"weighting\" is 'soft'; valid: softmax, hard, linear", True),
    (_set("causal", 0), '"causal" is a number; expected true or false', True),
    (_drop("text"), 'the document has no "text"', True),
    (_drop("queries", 1, "start"), 'queries[1] has no "start"', True),
    (_drop("queries", 1, "end"), 'queries[1] has no "end"', True),
    (_set("text", None), '"text" is missing or null; expected a string', True),
    (_set("source", 3), '"source" is a number; expected a string', True),
    (_set("queries", []), '"queries" is empty', True),
    (_set("queries", 1, "bank"), "queries[1] is a string; expected an object", True),
    (_drop("keys", 2, "token"), 'keys[2] has no "token"', True),
    (_set("queries", 2, "end", 14), "queries[2].end is 14, out of range (0 to 13)", False),
    (_set("queries", 2, "start", 14), "queries[2].start is 14, out of range (0 to 13)", False),
    (
        _set("keys", 1, "id", 3),
        '"keys" differ from "queries", but the document has no "source"',
        False,
    ),
    (_set("maps", []), '"maps" is empty', True),
    (_set("maps", {}), '"maps" is an object; expected an array', True),
    (_set("maps", 1, 7), "maps[1] is a number; expected an object", True),
    (_drop("maps", 1, "name"), 'maps[1] has no "name"', True),
    (
        _set("maps", 1, "name", "L0H3"),
        "maps[0] and maps[1] have the same name and block: 'L0H3'",
        False,
    ),
    (_set("maps", 0, "block", "x" * 999), "maps[0].block is 'xxx", True),
    (_set("maps", 0, "layer", 1), "maps[0].layer is 1, out of range (0 to 0)", False),
    (_set("maps", 0, "head", 8), "maps[0].head is 8, out of range (0 to 7)", False),
    (_set("maps", 0, "head", "3"), "maps[0].head is a string; expected an integer", True),
    (_drop("maps", 0, "pattern"), "maps[0].pattern is missing or null", True),
    (_drop("maps", 1, "pattern", 0), "maps[1].pattern: expected 3 rows, found 2", False),
    (_drop("maps", 0, "pattern", 2, 0), "maps[0].pattern[2]: expected 3 numbers, found 2", False),
    (
        _set("maps", 0, "pattern", 1, 3),
        "maps[0].pattern[1] is a number; expected an array of numbers",
        True,
    ),
    (_set("maps", 0, "pattern", 1, 1, "0.5"), "maps[0].pattern[1] contains a string", True),
    (_set("maps", 0, "pattern", 1, 1, True), "maps[0].pattern[1] contains true or false", True),
    (_set("maps", 0, "pattern", 1, 1, None), "maps[0].pattern[1] contains null", True),
    (_set("maps", 0, "q", 1, 1, None), "maps[0].q[1] contains null", True),
    (_set("maps", 0, "pattern", 1, 1, [1]), "maps[0].pattern[1] contains an array", True),
    (_set("maps", 0, "scores", 1, 1, "-inf"), "maps[0].scores[1] contains a string", True),
    (
        _set("maps", 0, "pattern", 1, 1, 1e39),
        "maps[0].pattern contains NaN, or exceeds the range of float32",
        False,
    ),
    (
        _set("maps", 0, "pattern", 1, 1, 10**400),
        "a number in maps[0].pattern exceeds the range of float32",
        False,
    ),
    (
        _set("maps", 0, "scores", 1, 1, -1e39),
        "maps[0].scores contains NaN, or exceeds the range of float32",
        False,
    ),
    (_set("maps", 1, "k", [[1, 2]] * 4), "maps[1].k: expected 3 rows, found 4", False),
    (_set("maps", 1, "z", [[1]] * 3), "maps[1].z[0]: expected 2 numbers, found 1", False),
]


@pytest.mark.parametrize(
    ("change", "message", "violates_schema"), BROKEN, ids=[message for _, message, _ in BROKEN]
)
def test_from_json_of_invalid_document_names_field_and_problem(
    change: Break, message: str, violates_schema: bool
) -> None:
    document = json.loads(to_json(example(), ARRAYS[1:]))
    change(document)
    with pytest.raises(InputError) as error:
        from_json(json.dumps(document))
    assert message in str(error.value)
    assert len(str(error.value)) < 160
    assert VALID.is_valid(document) is not violates_schema


def test_from_json_with_source_checks_shape_and_offsets_of_keys() -> None:
    document = json.loads(to_json(two_texts(), ARRAYS[1:]))
    m = document["maps"][0]
    m["pattern"] = [list(column) for column in zip(*m["pattern"], strict=True)]
    with pytest.raises(InputError, match=r"maps\[0\].pattern: expected 3 rows, found 2"):
        from_json(json.dumps(document))
    document["keys"][1]["end"] = 7
    with pytest.raises(InputError, match=r"keys\[1\].end is 7, out of range \(0 to 6\)"):
        from_json(json.dumps(document))


GOOD = to_json(example())
NOT_READABLE = [
    (b"", "the file is empty."),
    (b" \n\t\n", "the file is empty."),
    (b"{", "not valid JSON: Expecting property name enclosed in double quotes at line 1, column"),
    (b"L0H3", "not valid JSON: Expecting value at line 1, column 1."),
    (GOOD[:-1].encode(), "not valid JSON: Expecting ',' delimiter at line 1, column"),
    (GOOD.encode() + b"\n]", "not valid JSON: Expecting value at line 2, column 1."),
    (b"[]", "the document is an array; expected an object."),
    (b"null", "the document is missing or null; expected an object."),
    (b'"text"', "the document is a string; expected an object."),
    (b"[" * 100_000, "the JSON is nested too deeply."),
    (b'{"a":' * 100_000, "the JSON is nested too deeply."),
    (b'{"schema":' + b"9" * 5000 + b"}", "the JSON contains a number with too many digits."),
    (GOOD.replace("0.22270015", "NaN", 1).encode(), "NaN is not valid JSON."),
    (GOOD.replace("0.22270015", "-Infinity", 1).encode(), "-Infinity is not valid JSON."),
    (GOOD.replace('{"i":0', '{"i":0,"i":0', 1).encode(), "duplicate key 'i'."),
    (
        b"\x89PNG\r\n\x1a\n\xff\xfe",
        "neither JSON nor an .npz archive: invalid start byte at byte 0.",
    ),
    (b"\xff\xfe\x00", "neither JSON nor an .npz archive: truncated data at byte 2."),
    (
        b"map,block,layer,head,query_i,query,key_i,key,weight\n",
        "a .csv file contains neither text nor",
    ),
]


@pytest.mark.parametrize(
    ("data", "message"), NOT_READABLE, ids=[message for _, message in NOT_READABLE]
)
def test_read_maps_of_unreadable_bytes_states_problem(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_maps(data)
    assert message in str(error.value)


def test_from_json_of_two_objects_raises_input_error() -> None:
    with pytest.raises(InputError, match="Expected one JSON object, found 2"):
        from_json(GOOD + GOOD)


@quick
@given(st.binary(max_size=200))
def test_read_maps_of_any_bytes_returns_maps_or_raises_input_error(data: bytes) -> None:
    _reads_or_refuses(data)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@quick
@given(any_json, st.data())
def test_read_maps_with_any_value_in_any_field_reads_or_raises_input_error(
    value: object, data: Any
) -> None:
    document: Any = json.loads(to_json(example(), ARRAYS[1:]))
    place = document
    while True:
        key = data.draw(
            st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
        )
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    _reads_or_refuses(json.dumps(document).encode())


@quick
@given(
    st.sampled_from(["json", "npz"]),
    st.integers(0),
    st.binary(min_size=1, max_size=4),
    st.booleans(),
)
def test_read_maps_of_damaged_file_reads_or_raises_input_error(
    kind: str, at: int, damage: bytes, cut: bool
) -> None:
    undamaged = to_bytes(kind)
    at %= len(undamaged)
    _reads_or_refuses(
        undamaged[:at] if cut else undamaged[:at] + damage + undamaged[at + len(damage) :]
    )


def _reads_or_refuses(data: bytes) -> None:
    try:
        for maps in read_maps(data):
            VALID.validate(json.loads(to_json(maps)))
    except InputError as error:
        assert len(str(error)) < 300
