"""Masks: computed once in the core, and the same in every output."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TEXT = "the river bank"
NO_SELF = [[False, True, True], [True, False, True], [True, True, False]]
CAUSAL = [[False, False, False], [True, False, False], [True, True, False]]


@pytest.fixture
def attend(qkv: Callable, tiny_glove: Path) -> Callable:
    return lambda *args: qkv("attend", "-m", tiny_glove, *args)


def maps(result: Any) -> list[dict[str, Any]]:
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)["maps"]


@pytest.mark.parametrize("weighting", ["softmax", "hard", "linear"])
@pytest.mark.parametrize(
    "options", [(), ("--mean",), ("--show", "contributions"), ("--show", "scores")]
)
def test_attend_json_with_any_weighting_contains_mask_of_visible_keys(
    attend, weighting: str, options: tuple
) -> None:
    """The mask does not depend on the weights; under hard indexing most weights are 0."""
    for m in maps(attend(TEXT, "--json", "--weighting", weighting, *options)):
        assert m["mask"] == NO_SELF
        assert not np.array(m["pattern"])[~np.array(NO_SELF)].any()
    for m in maps(attend(TEXT, "--json", "--causal", "--weighting", weighting, *options)):
        assert m["mask"] == CAUSAL


def test_attend_rollout_mask_includes_diagonal(attend) -> None:
    assert "mask" not in maps(attend(TEXT, "--json", "--show", "rollout"))[0]
    [m] = maps(attend(TEXT, "--json", "--show", "rollout", "--causal"))
    assert m["mask"] == np.tril(np.ones((3, 3), bool)).tolist()


def test_attend_json_with_source_has_no_mask(attend) -> None:
    assert all("mask" not in m for m in maps(attend(TEXT, "--source", "a bank", "--json")))


def test_attend_json_with_window_cuts_mask_to_window(attend) -> None:
    for m in maps(attend(TEXT, "--json", "--causal", "--window", "1:3")):
        assert m["mask"] == [[False, False], [True, False]]


@pytest.mark.parametrize(
    "options", [(), ("--mean",), ("--show", "scores"), ("--show", "contributions")]
)
def test_attend_csv_leaves_masked_cells_empty(attend, options: tuple) -> None:
    result = attend(TEXT, "--format", "csv", *options).stdout
    for row in csv.DictReader(io.StringIO(result)):
        amount = [*row.values()][-1]
        assert (amount == "") == (row["query_i"] == row["key_i"])


def test_attend_npz_contains_mask_unless_source_is_given(attend, tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    assert attend(TEXT, "-o", file).code == 0
    with np.load(file) as archive:
        assert archive["mask"].dtype == np.bool_
        assert archive["mask"].tolist() == [NO_SELF] * 4
    assert attend(TEXT, "--source", "a bank", "-o", file).code == 0
    with np.load(file) as archive:
        assert "mask" not in archive


@pytest.mark.parametrize("suffix", ["json", "npz"])
@pytest.mark.parametrize("options", [(), ("--causal",), ("--weighting", "hard"), ("--mean",)])
def test_render_of_masked_file_draws_same_picture_and_legend(
    qkv: Callable, attend, tmp_path: Path, suffix: str, options: tuple
) -> None:
    file = tmp_path / f"a.{suffix}"
    assert attend("the river bank and the money", "-o", file, *options).code == 0
    picture = attend("the river bank and the money", *options).stdout
    assert qkv("render", file).stdout == picture
    assert "blank diagonal" in picture
    assert ("blank upper right" in picture) == ("--causal" in options)


def test_render_of_unmasked_zero_diagonal_does_not_call_it_blank(
    qkv: Callable, tmp_path: Path
) -> None:
    """In a foreign array without a mask, zeros on the diagonal are weights."""
    np.savez(tmp_path / "a.npz", a=np.float32([[[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]]]))
    (tmp_path / "t.json").write_text('["a", "b", "c"]')
    result = qkv("render", tmp_path / "a.npz", "--tokens", tmp_path / "t.json")
    assert result.code == 0 and "blank diagonal" not in result.stdout


def test_focus_and_compare_json_write_null_for_masked_cells(
    qkv: Callable, tiny_glove: Path
) -> None:
    result = qkv("focus", TEXT, "-m", tiny_glove, "--query", "bank", "--mean", "--json")
    assert json.loads(result.stdout)["mean"][2] is None
    result = qkv("focus", TEXT, "-m", tiny_glove, "--key", "the", "--mean", "--json", "--causal")
    assert [x is None for x in json.loads(result.stdout)["heads"][0]["weights"]] == [
        True,
        False,
        False,
    ]
    result = qkv("compare", TEXT, "L0", "L0H1", "-m", tiny_glove, "--weighting", "hard", "--json")
    [pair] = json.loads(result.stdout)["comparisons"]
    for name in ("pattern_a", "pattern_b", "difference"):
        assert [[x is not None for x in row] for row in pair[name]] == NO_SELF
