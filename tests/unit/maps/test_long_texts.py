"""Maps read block by block equal whole maps, for every way of reading and every kind of bias."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkv_cli.analysis.focus import focus
from qkv_cli.core import attention as core_attention
from qkv_cli.errors import InputError, UsageError
from qkv_cli.export.attention import to_csv, to_json
from qkv_cli.maps import matrix
from qkv_cli.maps.compute import head_maps
from qkv_cli.maps.head_maps import HeadMaps, checked_rows
from qkv_cli.maps.matrix import LazyMatrix, row_blocks, take, whole
from qkv_cli.maps.selection import hide_special
from qkv_cli.render.weights import survey
from qkv_cli.session.load import load
from qkv_cli.session.run import Reading

TEXT = "she sat on the bank and the river was muddy under the apple tree"
CLOSE = 2e-6
READINGS: dict[str, dict[str, Any]] = {
    "weights": {},
    "hard": {"weighting": "hard"},
    "linear": {"weighting": "linear"},
    "causal": {"causal": True},
    "scores": {"show": "scores"},
    "contributions": {"show": "contributions"},
    "rollout": {"show": "rollout"},
    "window": {"window": "2:9"},
    "words": {"merge_words": True},
    "ablated": {"ablate": ("L0H1",)},
    "source": {"source": "the mango was in a bank"},
}


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no maps, and read three rows at once, which does not divide the text."""
    monkeypatch.setattr(core_attention, "KEPT", 0)
    for module in (core_attention, matrix):
        monkeypatch.setattr(module, "BLOCK_CELLS", 3 * len(TEXT.split()))


def maps_of(folder: Path, *, mean: bool = False, **reading: Any) -> HeadMaps:
    return head_maps(load(folder), TEXT, Reading(**reading), layers=["all"], mean=mean)


def numbers(value: object) -> object:
    """Replace the arrays of a document by numpy arrays; null becomes NaN."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], list):
        return np.array(value, dtype=np.float64)
    return [numbers(item) for item in value] if isinstance(value, list) else value


def cells(maps: HeadMaps) -> list[tuple[str, float]]:
    """The lines of a CSV file: all names, and the number, NaN where masked."""
    lines = (line.rpartition(",") for line in "".join(to_csv(maps)).splitlines()[1:])
    return [(names, float(number or "nan")) for names, _, number in lines]


def assert_same(result: object, expected: object) -> None:
    if isinstance(expected, np.ndarray):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=CLOSE)
    elif isinstance(expected, dict):
        assert isinstance(result, dict) and result.keys() == expected.keys()
        for key, item in expected.items():
            assert_same(result[key], item)
    elif isinstance(expected, list):
        assert isinstance(result, list) and len(result) == len(expected)
        for one, other in zip(result, expected, strict=True):
            assert_same(one, other)
    else:
        assert result == expected


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("name", READINGS)
def test_maps_in_blocks_equal_whole_maps(
    tiny_glove: Path, request: pytest.FixtureRequest, name: str, mean: bool
) -> None:
    expected = maps_of(tiny_glove, mean=mean, **READINGS[name])
    include = () if mean or name in ("words", "rollout") else ("scores", "q", "k", "v", "z")
    documents = to_json(expected, include)
    table = cells(expected)
    surveys = [survey(expected, m, (4, 5), 6) for m in expected.maps]
    rows = [focus(expected, side, 3).weights for side in ("query", "key")]
    request.getfixturevalue("in_blocks")
    result = maps_of(tiny_glove, mean=mean, **READINGS[name])
    assert name == "rollout" or isinstance(result.maps[0].pattern, LazyMatrix)
    assert_same(numbers(json.loads(to_json(result, include))), numbers(json.loads(documents)))
    assert [names for names, _ in cells(result)] == [names for names, _ in table]
    amounts = [[x for _, x in of] for of in (cells(result), table)]
    np.testing.assert_allclose(*amounts, rtol=1e-5, atol=CLOSE)
    for side, expected_row in zip(("query", "key"), rows, strict=True):
        np.testing.assert_allclose(focus(result, side, 3).weights, expected_row, atol=CLOSE)
    for m, other in zip(result.maps, surveys, strict=True):
        found = survey(result, m, (4, 5), 6)
        np.testing.assert_allclose(found.cells, other.cells, atol=CLOSE)
        assert found.has_negative == other.has_negative
        links, expected_links = ([link[2] for link in s.links] for s in (found, other))
        np.testing.assert_allclose(links, expected_links, atol=CLOSE)


def test_hide_special_in_blocks_equals_hide_special_of_whole_maps(
    tiny_glove: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "BLOCK_CELLS", 30)
    maps = maps_of(tiny_glove)
    tokens = [replace(t, special=t.i in (0, 5, 13)) for t in maps.queries]
    maps = replace(maps, queries=tokens, keys=tokens)
    lazy_maps = [
        replace(m, pattern=LazyMatrix(m.pattern.shape, m.pattern.__getitem__)) for m in maps.maps
    ]
    expected, result = hide_special(maps), hide_special(replace(maps, maps=lazy_maps))
    assert result.notes == expected.notes
    for m, other in zip(result.maps, expected.maps, strict=True):
        np.testing.assert_array_equal(m.pattern[:], other.pattern)


def test_take_of_rows_and_columns_equals_indexing() -> None:
    array = np.arange(42.0).reshape(7, 6)
    lazy = LazyMatrix((7, 6), lambda rows: array[rows])
    for rows, columns in (([0, 2, 3, 6], [1, 5]), (slice(2, 6), slice(None)), ([], [0])):
        expected = array[rows][:, columns]
        result = take(lazy, rows, columns)
        assert result.shape == expected.shape
        for part in (slice(0, 2), slice(1, None), slice(0, 0)):
            np.testing.assert_array_equal(result[part], expected[part])


def test_row_blocks_cover_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "BLOCK_CELLS", 20)
    lazy = LazyMatrix((7, 6), lambda rows: np.zeros((7, 6))[rows])
    assert [(rows.start, rows.stop) for rows in row_blocks(lazy)] == [(0, 3), (3, 6), (6, 7)]
    assert [(rows.start, rows.stop) for rows in row_blocks(np.zeros((7, 6)))] == [(0, 7)]


def test_whole_of_too_large_a_matrix_names_its_memory() -> None:
    lazy = LazyMatrix((32768, 32768), lambda rows: np.zeros(0))
    with pytest.raises(UsageError, match=r"32,768 x 32,768 weights take 4\.0 GiB .* 8,192 tokens"):
        whole(lazy, "Rollout")


def test_checked_rows_with_nan_are_refused_when_they_are_read() -> None:
    array, visible = np.zeros((4, 2)), np.ones((4, 2), np.bool_)
    array[3, 1] = np.nan
    rows = checked_rows("L0H0.pattern", LazyMatrix((4, 2), lambda rows: array[rows]), visible)
    assert not rows[slice(0, 3)].any()
    with pytest.raises(InputError, match=r"L0H0\.pattern contains NaN or infinity"):
        rows[slice(3, 4)]
