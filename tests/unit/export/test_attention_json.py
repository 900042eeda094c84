"""Head maps to JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from export_examples import (
    ARRAYS,
    VALID,
    any_text,
    example,
    f32,
    head_maps,
    only,
    quick,
    same,
    two_texts,
)
from hypothesis import given

from qkv_cli import __version__
from qkv_cli.errors import InputError, UsageError
from qkv_cli.export.attention import from_json, read_maps, to_json
from qkv_cli.maps.head_maps import HeadMap
from qkv_cli.maps.selection import average, window

GOLDEN = Path(__file__).parents[2] / "golden" / "export"
INCLUDES = [(), ("scores",), ("z", "q"), ARRAYS[1:]]


def test_to_json_matches_golden_document() -> None:
    golden = (GOLDEN / "zzyx.json").read_text(encoding="utf-8")
    result = to_json(example(), ARRAYS[1:]) + "\n"
    assert result.replace(f'"qkv":"{__version__}"', '"qkv":"0.1.0"') == golden


@pytest.mark.parametrize("include", INCLUDES)
@pytest.mark.parametrize("maps", [example(), two_texts(), window(example(), 1, 3)])
def test_from_json_restores_maps_with_included_arrays(maps, include) -> None:
    text = to_json(maps, include)
    VALID.validate(json.loads(text))
    assert same(from_json(text), only(maps, include))


@quick
@given(head_maps())
def test_from_json_restores_arbitrary_maps(maps) -> None:
    text = to_json(maps, ARRAYS[1:])
    VALID.validate(json.loads(text))
    assert same(from_json(text), maps)
    assert text.isascii() and text.isprintable()


@quick
@given(any_text)
def test_to_json_of_any_text_is_one_printable_line(text: str) -> None:
    assert to_json(replace(example(), text=text)).isprintable()


def test_from_json_restores_average_with_pattern_only() -> None:
    maps = replace(example(), maps=average(example().maps))
    text = to_json(maps)
    VALID.validate(json.loads(text))
    assert same(from_json(text), maps)


def test_to_json_writes_null_for_masked_score() -> None:
    document = json.loads(to_json(example(), ("scores",)))
    [head] = [m for m in document["maps"] if m["name"] == "L0H3"]
    assert head["scores"][0] == [None, 0.25, 1.5]
    assert head["pattern"][0][1] == pytest.approx(np.exp(0.25) / (np.exp(0.25) + np.exp(1.5)))


def test_from_json_ignores_unknown_keys() -> None:
    document = json.loads(to_json(example()))
    for place in (document, document["model"], document["queries"][0], document["maps"][0]):
        place["later"] = {"any": ["thing"]}
    document["keys"] = document["queries"]
    assert same(from_json(json.dumps(document)), only(example(), ()))


def test_from_json_without_optional_fields_uses_defaults() -> None:
    document = json.loads(to_json(example()))
    del document["causal"], document["model"]["about"], document["queries"][0]["special"]
    back = from_json(json.dumps(document))
    assert (back.causal, back.model.about, back.queries[0].special) == (False, "", False)


def test_read_maps_reads_several_documents_on_lines_or_indented() -> None:
    first, second = to_json(example()), json.dumps(json.loads(to_json(two_texts())), indent=2)
    for text in (f"{first}\n{second}\n", f"\n {second}{first}", f"{first}\r\n\r\n{second}"):
        sources = {maps.source for maps in read_maps(text.encode())}
        assert sources == {None, "a tree"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_read_maps_accepts_every_unicode_encoding(encoding: str) -> None:
    [back] = read_maps(to_json(example()).encode(encoding))
    assert same(back, only(example(), ()))


def test_to_json_with_missing_or_unknown_array_raises_usage_error() -> None:
    mean = replace(example(), maps=average(example().maps))
    with pytest.raises(UsageError, match="L0 mean of H3 H5 has no q"):
        to_json(mean, ("q",))
    with pytest.raises(
        UsageError, match="Unknown array 'score': --include takes scores, q, k, v, z"
    ):
        to_json(example(), ("score",))


@pytest.mark.parametrize("field", ARRAYS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_to_json_of_nan_or_infinity_raises_input_error(field: str, value: float) -> None:
    m = example().maps[0]
    array = getattr(m, field).copy()
    array[1, 0] = value
    maps = replace(example(), maps=[replace(m, **{field: array})])
    with pytest.raises(InputError, match=f"L0H3.{field} contains NaN or infinity"):
        to_json(maps, ARRAYS[1:])


def test_to_json_writes_mask_only_if_any_cell_is_masked() -> None:
    [m, _] = json.loads(to_json(example()))["maps"]
    assert m["mask"] == [[False, True, True], [True, False, True], [True, True, False]]
    free = replace(example(), maps=[HeadMap("L0H3", "self", 0, 3, np.full((3, 3), 1 / 3))])
    assert "mask" not in to_json(free)
    assert from_json(to_json(free)).maps[0].mask.all()


@pytest.mark.parametrize("include", [(), ("scores",)])
def test_from_json_without_mask_derives_it_from_scores_or_causal_flag(include) -> None:
    document = json.loads(to_json(example(), include))
    for m in document["maps"]:
        del m["mask"]
    VALID.validate(document)
    expected = ~np.eye(3, dtype=bool) if include else np.ones((3, 3))
    assert np.array_equal(from_json(json.dumps(document)).maps[0].mask, expected)
    later = from_json(json.dumps(document | {"causal": True})).maps[0].mask
    assert np.array_equal(later, expected if include else np.tril(expected))


def test_from_json_with_mask_contradicting_pattern_or_scores_raises_input_error() -> None:
    document = json.loads(to_json(example(), ("scores",)))
    m = document["maps"][1]
    m["mask"][0] = [False, False, True]
    with pytest.raises(
        InputError, match=r"maps\[1\].pattern is not 0 where maps\[1\].mask is false"
    ):
        from_json(json.dumps(document))
    m["mask"][0] = [True, True, True]
    with pytest.raises(InputError, match=r"maps\[1\].scores is null where maps\[1\].mask is true"):
        from_json(json.dumps(document))
    m["mask"][0] = [True, 1, True]
    with pytest.raises(
        InputError, match=r"maps\[1\].mask\[0\] contains a number; expected true or false"
    ):
        from_json(json.dumps(document))


def test_to_json_of_float64_pattern_writes_float32() -> None:
    m = HeadMap("L0H3", "self", 0, 3, np.full((3, 3), 1 / 3))
    back = from_json(to_json(replace(example(), maps=[m])))
    assert np.array_equal(back.maps[0].pattern, f32(np.full((3, 3), 1 / 3)))
