"""`qkv focus` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import qkv_cli.export

TEXT = "the fisherman sat on the bank of the river"
SCHEMA = json.loads(
    (Path(qkv_cli.export.__file__).parent / "focus.schema.json").read_text(encoding="utf-8")
)
VALID = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture
def focus(qkv: Callable, tiny_glove: Path) -> Callable:
    """`qkv focus -m TINY ARGS`."""
    return lambda *args, stdin="": qkv("focus", "-m", tiny_glove, *args, stdin=stdin)


def document(result) -> dict:
    assert result.code == 0, result.stderr
    outcome = json.loads(result.stdout)
    VALID.validate(outcome)
    return outcome


@pytest.fixture
def attend(qkv, tiny_glove) -> Callable:
    """Run `qkv attend` on the tiny model and return its JSON document."""
    return lambda *args: json.loads(qkv("attend", "-m", tiny_glove, *args, "--json").stdout)


def array(weights: list) -> np.ndarray:
    return np.array(weights, float)


def test_focus_json_of_query_is_pattern_row_and_of_key_is_column(focus, attend) -> None:
    maps = attend(TEXT)["maps"]
    for side, at in (("query", 5), ("key", 8)):
        result = document(focus(TEXT, f"--{side}", ("bank" if at == 5 else "river"), "--json"))
        assert (result["side"], result["i"]) == (side, at)
        for head, m in zip(result["heads"], maps, strict=True):
            pattern = array(m["pattern"])
            expected = pattern[at] if side == "query" else pattern[:, at]
            assert head["name"] == m["name"]
            weights = array(head["weights"])
            assert np.isnan(weights[at])  # a word cannot attend to itself
            assert np.array_equal(np.nan_to_num(weights), expected)
            top = np.argsort(-expected, kind="stable")[:5]
            assert [entry["i"] for entry in head["top"]] == top.tolist()
            assert [entry["weight"] for entry in head["top"]] == expected[top].tolist()
        mean = np.mean([array(h["weights"]) for h in result["heads"]], axis=0)
        assert array(result["mean"]) == pytest.approx(mean, rel=1e-6, nan_ok=True)


def test_focus_with_mean_and_head_options_averages_selected_heads(focus, attend) -> None:
    result = document(focus(TEXT, "--query", "bank", "--mean", "--head", "1:3", "--json"))
    [head] = result["heads"]
    assert head["name"] == "L0 mean of H1 H2"
    rows = [array(m["pattern"])[5] for m in attend(TEXT, "--head", "1:3")["maps"]]
    expected = [None if at == 5 else x for at, x in enumerate(np.mean(rows, axis=0))]
    assert head["weights"][5] is None  # a word cannot attend to itself
    assert array(head["weights"]) == pytest.approx(array(expected), rel=1e-6, nan_ok=True)
    page = focus(TEXT, "--query", "bank", "--mean", "--head", "1:3").stdout
    assert "bank" not in page[page.index("L0 mean") :]
    assert len(document(focus(TEXT, "--query", 5, "--head", 2, "--top", 3, "--json"))["heads"]) == 1


def test_focus_on_repeated_word_takes_first_unless_index_is_given(focus) -> None:
    result = focus(TEXT, "--query", "the", "--json")
    assert document(result)["i"] == 0
    assert "'the' occurs at 0, 4, 7: using --query 0, the first." in result.stderr
    result = focus(TEXT, "--query", 7, "--json")
    assert (document(result)["i"], result.stderr) == (7, "")
    assert document(focus(TEXT, "--key", -2, "--json"))["i"] == 7
    page = focus(TEXT, "--query", 4, "--head", 0).stdout
    assert "the₄ attends to" in page and "on [the] bank" in page
    assert "the₇" in page


def test_focus_with_source_takes_keys_from_source_text(focus, attend) -> None:
    args = ("the river bank", "--source", "she sat in a bank")
    maps = attend(*args)["maps"]
    result = document(focus(*args, "--key", "sat", "--json"))
    assert [t["text"] for t in result["queries"]] == ["the", "river", "bank"]
    assert array(result["heads"][0]["weights"]).tolist() == [row[1] for row in maps[0]["pattern"]]
    page = focus(*args, "--query", "river").stdout
    assert "she sat in a bank" in page and "[" not in page


def test_focus_text_states_direction_and_scale(focus) -> None:
    result = focus(TEXT, "--query", "bank")
    assert (result.code, result.stderr) == (0, "")
    for text in (
        "bank attends to",
        "[bank]",
        "L0H3",
        "more",
        "mean of 4",
        "all bars have one scale",
    ):
        assert text in result.stdout
    assert "bank is attended to by" in focus(TEXT, "--key", "bank").stdout
    assert "need not sum to 1" in focus(TEXT, "--key", "bank").stdout


@pytest.mark.parametrize(
    "args",
    [
        ("river", "--query", "river"),
        (TEXT, "--query", "bank", "--causal", "--weighting", "linear"),
        (TEXT, "--query", "bank", "--weighting", "hard", "--mean"),
        ("שלום 日本語 👩‍👩‍👧 the river", "--query", "日本語"),
        (" ".join(["the river bank"] * 171), "--query", "bank", "--width", "40"),
    ],
)
def test_focus_of_unusual_text_or_options_draws_and_writes_valid_json(focus, args) -> None:
    assert "attends to" in focus(*args).stdout
    document(focus(*args, "--json"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((TEXT,), "--query WORD"),
        ((TEXT, "--query", "bank", "--key", "river"), "Use either --query WORD"),
        ((TEXT, "--query", "rivers"), "Did you mean 'river'?"),
        ((TEXT, "--query", "bank", "-o", "x.csv"), "cannot write .csv files"),
        ((TEXT, "--query", "bank", "--head", "9"), "Head 9 does not exist"),
        ((TEXT, "--query", ""), "--query '' is neither a word nor an index"),
    ],
)
def test_focus_with_invalid_option_prints_one_line_error(focus, args, message: str) -> None:
    result = focus(*args)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr and result.stderr.count("\n") == 1
