"""`qkv grid` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

TEXT = "the mango and the apple are fruits that grow on a tree"


@pytest.fixture
def grid(qkv: Callable, tiny_glove: Path) -> Callable:
    """`qkv grid -m TINY ARGS`."""
    return lambda *args, stdin="": qkv("grid", "-m", tiny_glove, *args, stdin=stdin)


def test_grid_draws_thumbnail_of_every_head(grid) -> None:
    result = grid(TEXT)
    assert (result.code, result.stderr) == (0, "")
    for text in ("tiny", "L0 H0", "H3", "one scale for all heads", "qkv attend --head L0H"):
        assert text in result.stdout
    assert "4 shuffled readings" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_grid_of_embedded_model_marks_previous_and_next_token_heads(qkv) -> None:
    """L0H6 of glove attends to the previous word, L0H4 to the next word."""
    result = qkv("grid", TEXT).stdout
    assert "H6 <" in result and "H4 >" in result
    [previous] = [line for line in result.splitlines() if line.startswith("< previous  ")]
    assert "L0H6 ." in previous


def test_grid_with_zero_shuffles_or_linear_weights_has_no_marks(grid) -> None:
    result = grid(TEXT, "--shuffles", 0)
    assert "shuffled" not in result.stdout and " <" not in result.stdout
    assert "shuffled" not in grid(TEXT, "--weighting", "linear").stdout


def test_grid_json_equals_attend_json_of_all_layers(grid, qkv, tiny_glove) -> None:
    result = json.loads(grid(TEXT, "--json").stdout)
    expected = json.loads(qkv("attend", "-m", tiny_glove, TEXT, "--layer", "all", "--json").stdout)
    assert result == expected
    assert [m["name"] for m in result["maps"]] == ["L0H0", "L0H1", "L0H2", "L0H3"]


def test_grid_with_head_option_draws_only_selected_heads(grid) -> None:
    result = grid(TEXT, "--head", "L0H2", "--head", "0").stdout
    assert "H0" in result and "H2" in result and "H1" not in result and "H3" not in result


def test_grid_with_lines_draws_one_grid_per_line(grid, tmp_path) -> None:
    (tmp_path / "texts.txt").write_text("the river bank\nthe money in the bank\n")
    result = grid("--file", tmp_path / "texts.txt", "--lines")
    assert result.code == 0 and result.stdout.count("L0 H0") == 2


@pytest.mark.parametrize(
    "args",
    [
        ("river",),
        ("the river bank", "--source", "a bank in a river"),
        (TEXT, "--causal", "--weighting", "hard"),
        (TEXT, "--window", "2:5"),
        ("שלום 日本語 👩‍👩‍👧 the river",),
        (" ".join(["the river bank"] * 171), "--width", "40"),
    ],
)
def test_grid_of_unusual_text_or_options_succeeds(grid, args) -> None:
    result = grid(*args)
    assert result.code == 0
    assert "L0 H0" in result.stdout


def test_grid_output_writes_npz_and_txt_files(grid, tmp_path) -> None:
    assert grid(TEXT, "-o", tmp_path / "g.npz").code == 0
    assert np.load(tmp_path / "g.npz")["pattern"].shape == (4, 12, 12)
    assert grid(TEXT, "-o", tmp_path / "g.txt").code == 0
    assert "L0 H0" in (tmp_path / "g.txt").read_text(encoding="utf-8")


def test_grid_with_missing_layer_or_empty_text_exits_2(grid) -> None:
    assert grid(TEXT, "--layer", 7).code == 2
    assert grid("").code == 2
