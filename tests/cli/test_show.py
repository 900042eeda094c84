"""`--show`: scores, contributions and rollout instead of weights, and their labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result

from qkv_cli.export.document import SHOWN
from qkv_cli.session.load import load

TEXT = "she deposited money in the bank"
FIELD = {"weights": "pattern", "scores": "scores", "contributions": "norms", "rollout": "rollout"}


@pytest.fixture
def attend(qkv: Callable[..., Result], tiny_glove: Path) -> Callable[..., Result]:
    return lambda *args: qkv("attend", "-m", tiny_glove, TEXT, *args)


def document(result: Result) -> dict[str, Any]:
    assert (result.code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_attend_show_json_contains_shown_quantity_and_pattern(attend, tiny_glove) -> None:
    [layer] = load(tiny_glove).read(TEXT).layers
    for show, field in FIELD.items():
        result = document(attend("--show", show, "--json"))
        assert result["shown"] == SHOWN[show]
        assert all(("pattern" in m, field in m) == (True, True) for m in result["maps"])
        assert not ({"scores", "norms", "rollout"} - {field}) & set(result["maps"][0])
    assert document(attend("--json"))["shown"] == "weights"
    values = document(attend("--show", "contributions", "--json"))["maps"]
    for head, m in enumerate(values):
        np.testing.assert_array_equal(np.float32(m["pattern"]), layer.attn.pattern()[head])
        assert not np.allclose(m["norms"], m["pattern"], atol=0.1)
    scores = document(attend("--show", "scores", "--json"))["maps"][2]["scores"]
    assert scores[0][0] is None
    np.testing.assert_array_equal(np.float32(scores[0][1:]), layer.attn.scores()[2, 0, 1:])


@pytest.mark.parametrize(
    ("show", "phrases"),
    [
        (
            "scores",
            [
                "scores: before softmax",
                "rows are queries, columns are keys",
                "in magnitude",
                " · ",
            ],
        ),
        (
            "contributions",
            [
                "contributions: ‖weight x value x W_O‖",
                "each length is that of the vector which the key adds",
                " ← ",
            ],
        ),
        ("rollout", ["L0 rollout", "weights traced through all layers", "share shown", " ← "]),
    ],
)
def test_attend_show_picture_describes_quantity(attend, show: str, phrases: list[str]) -> None:
    result = attend("--show", show)
    assert (result.code, result.stderr) == (0, "")
    for words in phrases:
        assert words in result.stdout
    assert "weight shown" not in result.stdout and " → " not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("suffix", ["json", "npz"])
@pytest.mark.parametrize("show", list(FIELD))
def test_render_of_shown_quantity_draws_same_picture(
    attend, qkv, tmp_path, show: str, suffix: str
) -> None:
    path = tmp_path / f"x.{suffix}"
    assert attend("--show", show, "-o", path).code == 0
    picture = qkv("render", path)
    assert picture.code == 0, picture.stderr
    assert picture.stdout == attend("--show", show).stdout


def test_render_show_draws_other_quantity_of_file_or_names_missing_array(
    attend, qkv, tmp_path
) -> None:
    path = tmp_path / "x.json"
    attend("--show", "contributions", "--include", "scores", "-o", path)
    assert qkv("render", path, "--show", "weights").stdout == attend().stdout
    assert qkv("render", path, "--show", "scores").stdout == attend("--show", "scores").stdout
    assert qkv("render", path, "--show", "rollout").stdout == attend("--show", "rollout").stdout
    attend("-o", path)
    result = qkv("render", path, "--show", "contributions")
    assert (result.code, result.stdout) == (2, "")
    assert (
        "L0H0 has no norms: write the file with `qkv attend ... --show contributions --json`."
        in result.stderr
    )


def test_attend_contributions_with_mean_averages_norms_and_patterns(attend) -> None:
    heads = document(attend("--show", "contributions", "--json"))["maps"]
    [mean] = document(attend("--show", "contributions", "--json", "--mean"))["maps"]
    for field in ("pattern", "norms"):
        np.testing.assert_allclose(mean[field], np.mean([m[field] for m in heads], axis=0), 1e-5)


@pytest.mark.parametrize(
    ("show", "last"),
    [("weights", "weight"), ("scores", "score"), ("contributions", "norm"), ("rollout", "rollout")],
)
def test_attend_show_csv_has_quantity_in_last_column(attend, show: str, last: str) -> None:
    rows = list(csv.DictReader(io.StringIO(attend("--show", show, "--format", "csv").stdout)))
    m = document(attend("--show", show, "--json"))["maps"][-1][FIELD[show]]
    assert list(rows[0])[-1] == last
    assert rows[-2][last] == ("" if m[-1][-2] is None else rows[-2][last])
    assert float(rows[-2][last]) == pytest.approx(m[-1][-2])
    if show == "scores":
        assert rows[-1][last] == "" and m[-1][-1] is None


def test_attend_contributions_with_window_cuts_norms(attend) -> None:
    uncut = document(attend("--show", "contributions", "--json"))["maps"][1]["norms"]
    part = document(attend("--show", "contributions", "--json", "--window", "1:4"))["maps"][1][
        "norms"
    ]
    assert part == [row[1:4] for row in uncut[1:4]]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--show", "rollout", "--head", "1"], "Rollout combines all heads of a layer"),
        (["--show", "rollout", "--source", "a tree"], "Rollout does not apply to cross-attention"),
        (
            ["--show", "rollout", "--weighting", "linear"],
            "Rollout does not apply to linear weights",
        ),
        (["--show", "scores", "--words"], "Scores of sub-words cannot be merged into words"),
        (["--show", "flow"], "'flow' is not one of"),
    ],
)
def test_attend_with_invalid_show_option_prints_one_line_error(
    attend, args: list[str], message: str
) -> None:
    result = attend(*args)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_attend_rollout_with_any_option_for_all_heads_gives_same_output(attend) -> None:
    for args in (["--head", "all"], ["--head", "L0H*"], ["--mean"], ["--layer", "all"]):
        assert attend("--show", "rollout", *args).stdout == attend("--show", "rollout").stdout


@pytest.mark.parametrize("show", list(FIELD))
def test_grid_show_describes_quantity_and_suggests_attend_command(
    qkv, tiny_glove, show: str
) -> None:
    args = ("grid", "-m", tiny_glove, TEXT, "--show", show)
    result = qkv(*args, "--width", "60")
    noun = {"weights": "weight", "scores": "score", "contributions": "length", "rollout": "share"}[
        show
    ]
    ending = "in magnitude" if show == "scores" else "shown"
    assert f"largest {noun} {ending}" in " ".join(result.stdout.split()) and result.code == 0
    assert ("H0" in result.stdout) == (show != "rollout")
    flag = "" if show == "weights" else f" --show {show}"
    joined = " ".join(result.stdout.split())
    assert (
        f"a map at full size: qkv attend --{'layer 0' if show == 'rollout' else 'head L0H0'}{flag}"
        in joined
    )
    assert document(qkv(*args, "--json"))["shown"] == SHOWN[show]


def test_grid_of_scores_of_long_text_pools_largest_unmasked_magnitude(qkv, tiny_glove) -> None:
    """Masked scores are -inf; they must not be the value of a pooled block."""
    text = " ".join([TEXT] * 30)
    args = ("-m", tiny_glove, text, "--show", "scores", "--causal")
    largest = max(
        abs(x)
        for m in document(qkv("attend", *args, "--json"))["maps"]
        for row in m["scores"]
        for x in row
        if x is not None
    )
    result = " ".join(qkv("grid", *args, "--width", "60").stdout.split())
    assert "scores (queries x keys)" in result
    assert f"±{largest:.1f}, the largest score" in result or f"±{largest:.0f}, the" in result


@pytest.mark.parametrize(
    ("show", "phrase"),
    [
        ("scores", "bank scores"),
        ("contributions", "bank receives from"),
        ("rollout", "bank draws on"),
    ],
)
def test_focus_show_describes_quantity_and_writes_its_row(
    attend, qkv, tiny_glove, show: str, phrase: str
) -> None:
    args = ("focus", "-m", tiny_glove, TEXT, "--query", "bank", "--show", show)
    result = qkv(*args)
    assert (result.code, result.stderr) == (0, "")
    assert phrase in result.stdout and "attends to" not in result.stdout
    focused = document(qkv(*args, "--json"))
    assert focused["shown"] == SHOWN[show]
    for head, m in zip(
        focused["heads"], document(attend("--show", show, "--json"))["maps"], strict=True
    ):
        assert [x or 0 for x in head["weights"]] == [x or 0 for x in m[FIELD[show]][-1]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (["--values"], ["--numbers"], "--values is now called --numbers"),
        (["--show", "values"], ["--show", "contributions"], "--show values is now called --show c"),
        (["--show=values"], ["--show=contributions"], "--show values is now called --show contrib"),
    ],
)
def test_attend_with_old_option_name_works_and_prints_note(attend, old, new, message: str) -> None:
    result = attend(*old)
    assert (result.code, result.stdout) == (0, attend(*new).stdout)
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_attend_contributions_json_says_values_as_in_version_0_1(attend) -> None:
    assert document(attend("--show", "contributions", "--json"))["shown"] == "values"
