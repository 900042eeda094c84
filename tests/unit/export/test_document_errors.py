"""Documents that are broken: one line that says what is wrong, and where; never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from export_examples import ARRAYS, VALID, example, quick, to_bytes, two_texts
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.errors import InputError
from qkv_cli.export.attention import from_json, read, to_json

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


# A change to a good document, what is said of it, and whether the JSON Schema sees it too.
BROKEN: list[tuple[Break, str, bool]] = [
    (_drop("schema"), "\"schema\" is missing; this qkv reads 'qkv.attention/1'", True),
    (_set("schema", "qkv.attention/2"), "\"schema\" is 'qkv.attention/2'; this qkv reads", True),
    (_drop("model"), 'The document has no "model"', True),
    (_set("model", []), '"model" is an array, an object was expected', True),
    (_drop("model", "origin"), 'model has no "origin"', True),
    (_set("model", "heads", -1), "model.heads is -1; it must be from 0 to 4096", True),
    (_set("model", "layers", 10**9), "model.layers is 1000000000; it must be from 0 to 4096", True),
    (_set("model", "d_head", 10**400), "model.d_head is a huge number", True),
    (_set("model", "d_head", 2.5), "model.d_head is a number, a whole number was expected", True),
    (_set("model", "d_head", True), "model.d_head is true or false, a whole number was", True),
    (_set("weighting", "soft"), "\"weighting\" is 'soft'; valid are softmax, hard, linear", True),
    (_set("causal", 0), '"causal" is a number, true or false was expected', True),
    (_drop("text"), 'The document has no "text"', True),
    (_drop("queries", 1, "start"), 'queries[1] has no "start"', True),
    (_drop("queries", 1, "end"), 'queries[1] has no "end"', True),
    (_set("text", None), '"text" is missing or null, a string was expected', True),
    (_set("source", 3), '"source" is a number, a string was expected', True),
    (_set("queries", []), '"queries" is empty', True),
    (_set("queries", 1, "bank"), "queries[1] is a string, an object was expected", True),
    (_drop("keys", 2, "token"), 'keys[2] has no "token"', True),
    (_set("queries", 2, "end", 14), "queries[2].end is 14; it must be from 0 to 13", False),
    (_set("queries", 2, "start", 14), "queries[2].start is 14; it must be from 0 to 13", False),
    (_set("keys", 1, "id", 3), '"keys" differ from "queries", and there is no "source"', False),
    (_set("maps", []), '"maps" is empty', True),
    (_set("maps", {}), '"maps" is an object, an array was expected', True),
    (_set("maps", 1, 7), "maps[1] is a number, an object was expected", True),
    (_drop("maps", 1, "name"), 'maps[1] has no "name"', True),
    (_set("maps", 1, "name", "L0H3"), "maps[1] is called 'L0H3', as maps[0] is", False),
    (_set("maps", 0, "block", "x" * 999), "maps[0].block is 'xxx", True),
    (_set("maps", 0, "layer", 1), "maps[0].layer is 1; it must be from 0 to 0", False),
    (_set("maps", 0, "head", 8), "maps[0].head is 8; it must be from 0 to 7", False),
    (_set("maps", 0, "head", "3"), "maps[0].head is a string, a whole number was", True),
    (_drop("maps", 0, "pattern"), "maps[0].pattern is missing or null", True),
    (_drop("maps", 1, "pattern", 0), "maps[1].pattern has 2 rows, there must be 3", False),
    (_drop("maps", 0, "pattern", 2, 0), "maps[0].pattern[2] has 2 numbers, there must be 3", False),
    (_set("maps", 0, "pattern", 1, 3), "maps[0].pattern[1] is a number, a row of numbers", True),
    (_set("maps", 0, "pattern", 1, 1, "0.5"), "maps[0].pattern[1] holds a string", True),
    (_set("maps", 0, "pattern", 1, 1, True), "maps[0].pattern[1] holds true or false", True),
    (_set("maps", 0, "pattern", 1, 1, None), "maps[0].pattern[1] holds missing or null", True),
    (_set("maps", 0, "q", 1, 1, None), "maps[0].q[1] holds missing or null", True),
    (_set("maps", 0, "pattern", 1, 1, [1]), "maps[0].pattern[1] holds an array", True),
    (_set("maps", 0, "scores", 1, 1, "-inf"), "maps[0].scores[1] holds a string", True),
    (
        _set("maps", 0, "pattern", 1, 1, 1e39),
        "maps[0].pattern holds a number beyond float32",
        False,
    ),
    (_set("maps", 0, "pattern", 1, 1, 10**400), "maps[0].pattern holds a number beyond", False),
    (_set("maps", 0, "scores", 1, 1, -1e39), "maps[0].scores holds a number beyond float32", False),
    (_set("maps", 1, "k", [[1, 2]] * 4), "maps[1].k has 4 rows, there must be 3", False),
    (_set("maps", 1, "z", [[1]] * 3), "maps[1].z[0] has 1 numbers, there must be 2", False),
]


@pytest.mark.parametrize(("change", "said", "seen"), BROKEN, ids=[said for _, said, _ in BROKEN])
def test_says_what_is_wrong_and_where(change: Break, said: str, seen: bool) -> None:
    document = json.loads(to_json(example(), ARRAYS[1:]))
    change(document)
    with pytest.raises(InputError) as error:
        from_json(json.dumps(document))
    assert said in str(error.value)
    assert len(str(error.value)) < 160
    assert VALID.is_valid(document) is not seen


def test_between_two_texts_rows_are_queries_and_keys_are_within_the_source() -> None:
    document = json.loads(to_json(two_texts(), ARRAYS[1:]))
    m = document["maps"][0]
    m["pattern"] = [list(column) for column in zip(*m["pattern"], strict=True)]
    with pytest.raises(InputError, match=r"maps\[0\].pattern has 2 rows, there must be 3"):
        from_json(json.dumps(document))
    document["keys"][1]["end"] = 7
    with pytest.raises(InputError, match=r"keys\[1\].end is 7; it must be from 0 to 6"):
        from_json(json.dumps(document))


GOOD = to_json(example())
NOT_READABLE = [
    (b"", "This is empty."),
    (b" \n\t\n", "This is empty."),
    (b"{", "This is no JSON: Expecting property name enclosed in double quotes at line 1, column"),
    (b"L0H3", "This is no JSON: Expecting value at line 1, column 1."),
    (GOOD[:-1].encode(), "This is no JSON: Expecting ',' delimiter at line 1, column"),
    (GOOD.encode() + b"\n]", "This is no JSON: Expecting value at line 2, column 1."),
    (b"[]", "An object was expected, this is an array."),
    (b"null", "An object was expected, this is missing or null."),
    (b'"text"', "An object was expected, this is a string."),
    (b"[" * 100_000, "This JSON is nested too deeply to be qkv's."),
    (b'{"a":' * 100_000, "This JSON is nested too deeply to be qkv's."),
    (b'{"schema":' + b"9" * 5000 + b"}", "This JSON holds a number of thousands of digits."),
    (GOOD.replace("0.22270015", "NaN", 1).encode(), "NaN is no number in JSON."),
    (GOOD.replace("0.22270015", "-Infinity", 1).encode(), "-Infinity is no number in JSON."),
    (GOOD.replace('{"i":0', '{"i":0,"i":0', 1).encode(), "An object has 'i' twice."),
    (
        b"\x89PNG\r\n\x1a\n\xff\xfe",
        "This is neither JSON nor an .npz archive: invalid start byte at byte 0.",
    ),
    (b"\xff\xfe\x00", "This is neither JSON nor an .npz archive: truncated data at byte 2."),
    (b"map,block,layer,head,query_i,query,key_i,key,weight\n", "CSV keeps neither the text nor"),
]


@pytest.mark.parametrize(("data", "said"), NOT_READABLE, ids=[said for _, said in NOT_READABLE])
def test_what_is_no_document_is_named(data: bytes, said: str) -> None:
    with pytest.raises(InputError) as error:
        read(data)
    assert said in str(error.value)


def test_one_text_is_not_several() -> None:
    with pytest.raises(InputError, match="One JSON object was expected, there are 2"):
        from_json(GOOD + GOOD)


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_head_maps_or_an_input_error(data: bytes) -> None:
    _reads_or_refuses(data)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@quick
@given(any_json, st.data())
def test_any_value_in_any_place_is_head_maps_or_an_input_error(value: object, data: Any) -> None:
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
def test_a_damaged_file_is_head_maps_or_an_input_error(
    kind: str, at: int, damage: bytes, cut: bool
) -> None:
    whole = to_bytes(kind)
    at %= len(whole)
    _reads_or_refuses(whole[:at] if cut else whole[:at] + damage + whole[at + len(damage) :])


def _reads_or_refuses(data: bytes) -> None:
    try:
        for maps in read(data):
            VALID.validate(json.loads(to_json(maps)))
    except InputError as error:
        assert len(str(error)) < 300
