"""`qkv render` draws the JSON of every command like the command itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = "The mango and the apple are fruits that grow on a tree"
COMMANDS = {
    "explain": ["explain", TEXT, "--query", "mango", "--key", "apple"],
    "explain hard": ["explain", TEXT, "--head", "L0H1", "--weighting", "hard"],
    "explain between texts": ["explain", TEXT, "--source", "the river bank"],
    "explain masked": ["explain", TEXT, "--causal", "--query", "The", "--key", "tree"],
    "focus": ["focus", TEXT, "--query", "apple", "--top", "3"],
    "focus of a key": ["focus", TEXT, "--key", "tree", "--mean", "--causal"],
    "focus between texts": ["focus", TEXT, "--key", "river", "--source", "the river bank"],
    "heads": ["heads", TEXT, "--shuffles", "2"],
    "heads of one order": ["heads", TEXT, "--shuffles", "0", "--sort", "entropy"],
    "compare": ["compare", TEXT, "L0H0", "L0H1"],
    "compare three": ["compare", TEXT, "L0H0", "L0H1", "L0H0"],
    "compare texts": ["compare", TEXT, "--with", "the apple and a tree", "L0H0"],
    "nearest": ["compare", TEXT, "--nearest", "L0H0"],
}


@pytest.mark.parametrize("args", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("look", [["--width", "80"], ["--color", "always", "--palette", "magma"]])
def test_render_of_command_json_draws_same_output_as_command(
    qkv, tiny_glove: Path, args: list[str], look
) -> None:
    model = ["-m", str(tiny_glove)]
    picture = qkv(*args, *model, *look)
    json_result = qkv(*args, *model, "--json")
    assert picture.code == json_result.code == 0
    rendered = qkv("render", "-", *look, stdin=json_result.stdout.encode())
    assert (rendered.code, rendered.stderr) == (0, "")
    assert rendered.stdout == picture.stdout


def _damage(document: Any, at: int) -> Any:
    """Replace value number `at` by another type, or remove it; None if `at` is too large."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in list(items)[:4] if isinstance(value, list) else items:
            places.append((value, key))
            if isinstance(inner, dict | list):
                walk(inner)

    walk(document)
    if at >= len(places):
        return None
    of, key = places[at]
    of[key] = {"x": 1} if isinstance(of[key], str | int | float | None) else 7
    return document


@pytest.mark.parametrize("args", COMMANDS.values(), ids=COMMANDS)
def test_render_of_damaged_document_draws_or_prints_one_line_error(
    qkv: Callable, tiny_glove: Path, args: list[str]
) -> None:
    json_text = qkv(*args, "-m", tiny_glove, "--json").stdout
    n = 0
    while (document := _damage(json.loads(json_text), n)) is not None and n < 150:
        done = qkv("render", "-", stdin=json.dumps(document).encode())
        assert done.code in (0, 2) and "Traceback" not in done.stderr
        assert done.code == 0 or done.stderr.count("\n") == 1
        n += 3
    assert n > 20


def test_render_of_more_than_25_comparisons_prints_one_line_error(
    qkv: Callable, tiny_glove: Path
) -> None:
    document = json.loads(qkv(*COMMANDS["compare"], "-m", tiny_glove, "--json").stdout)
    [comparison] = document["comparisons"]
    document["comparisons"] = [comparison] * 25
    assert qkv("render", "-", stdin=json.dumps(document).encode()).code == 0
    document["comparisons"] = [comparison] * 26
    done = qkv("render", "-", stdin=json.dumps(document).encode())
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "$.comparisons: 26 items; the maximum is 25" in done.stderr


def test_render_of_document_with_float_index_prints_one_line_error(
    qkv: Callable, tiny_glove: Path
) -> None:
    document = json.loads(qkv(*COMMANDS["compare"], "-m", tiny_glove, "--json").stdout)
    document["comparisons"][0]["rows"][0]["a"] = 0.0
    done = qkv("render", "-", stdin=json.dumps(document).encode())
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "rows[0].a: 0.0 is not" in done.stderr


def test_render_csv_of_map_name_with_lone_surrogate_escapes_it(
    qkv: Callable, tiny_glove: Path
) -> None:
    document = json.loads(qkv("attend", TEXT, "-m", tiny_glove, "--head", "0", "--json").stdout)
    document["maps"][0]["name"] = "\ud800"
    done = qkv("render", "-", "--format", "csv", stdin=json.dumps(document).encode())
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith("\\ud800,")


def test_render_of_heads_document_to_csv_is_refused(qkv: Callable, tiny_glove: Path) -> None:
    json_text = qkv("heads", TEXT, "-m", tiny_glove, "--shuffles", "0", "--json").stdout
    done = qkv("render", "-", "--format", "csv", stdin=json_text.encode())
    assert done.code == 2 and "can be drawn, but not converted to" in done.stderr


@pytest.mark.parametrize("name", ["explain", "focus", "heads", "compare", "nearest"])
def test_render_of_document_without_head_maps_refuses_map_options(
    qkv, tiny_glove: Path, name: str
) -> None:
    json_text = qkv(*COMMANDS[name], "-m", tiny_glove, "--json").stdout
    options = ["--head", "0", "--layer", "0", "--window", "0:2"]
    flags = ["--mean", "--words", "--hide-special"] + ["--numbers"] * (name != "compare")
    for option in (options[:2], options[2:4], options[4:], *([flag] for flag in flags)):
        result = qkv("render", "-", *option, stdin=json_text)
        message = f"qkv: standard input contains no head maps: leave out {option[0]}.\n"
        assert result == (2, "", message)
    assert name != "compare" or qkv("render", "-", "--numbers", stdin=json_text).code == 0
