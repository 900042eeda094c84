"""Recorded pictures of `qkv render`, drawn from hand-made documents without a model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import check_plain, recorded
from rich.cells import cell_len

Qkv = Callable[..., Result]
MODEL = {"name": "hand", "type": "word-vectors", "layers": 1, "heads": 4, "d_model": 8}
MODEL |= {"d_head": 2, "d_vocab": 9, "origin": "made by hand"}
FRUITS = ["the", "mango", "and", "the", "apple", "are", "fruits"]
ODD = ["naïve", "日本語", "👩‍👩‍👧", "שלום", "\x1b[31m", "a\tb", "e\u0301té", "\u200b"]


def tokens(words: list[str], unknown: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [
        {"i": i, "text": w, "token": w, "id": i, "start": i, "end": i + 1, "unknown": i in unknown}
        for i, w in enumerate(words)
    ]


def pattern(n_query: int, n_key: int, head: int) -> np.ndarray:
    """Rows that sum to 1, in eighths at most, so that every machine draws the same."""
    grid = np.zeros((n_query, n_key))
    for i in range(n_query):
        grid[i, (i + head) % n_key] += 0.5
        grid[i, (3 * i + 1) % n_key] += 0.375
        grid[i, (i * i + head) % n_key] += 0.125
    return grid


def document(
    words: list[str],
    keys: list[str] | None = None,
    n_heads: int = 4,
    *,
    weights: Callable[[np.ndarray], np.ndarray] = lambda p: p,
    masked: Callable[[np.ndarray], np.ndarray] | None = None,
    weighting: str = "softmax",
    unknown: tuple[int, ...] = (),
) -> dict[str, Any]:
    key_words = keys or words
    maps = []
    for head in range(n_heads):
        result = weights(pattern(len(words), len(key_words), head))
        entry = {
            "name": f"L0H{head}",
            "block": "cross" if keys else "self",
            "layer": 0,
            "head": head,
        }
        if masked is not None:
            hidden = masked(result)
            result = np.where(hidden, 0, result)
            scores = result.astype(object)
            scores[hidden] = None
            entry["scores"] = scores.tolist()
        maps.append(entry | {"pattern": result.tolist()})
    return {
        "schema": "qkv.attention/1",
        "qkv": "0",
        "model": MODEL,
        "weighting": weighting,
        "causal": masked is not None,
        "text": " ".join(words),
        **({"source": " ".join(keys)} if keys else {}),
        "queries": tokens(words, unknown),
        "keys": tokens(key_words, unknown),
        "maps": maps,
    }


def later(p: np.ndarray) -> np.ndarray:
    return np.triu(np.ones_like(p), 1).astype(bool)


LONG = [f"word{i}" for i in range(300)]
DOCUMENTS = {
    "fruits": document(FRUITS),
    "odd": document(ODD, n_heads=2, unknown=(1, 3)),
    "causal": document(FRUITS, n_heads=2, masked=later),
    "linear": document(FRUITS, n_heads=2, weights=lambda p: 3 * p - 0.75, weighting="linear"),
    "cross": document(FRUITS, ["a", "fruit", "on", "its", "tree"], n_heads=2),
    "word": document(["river"], n_heads=2, masked=lambda p: np.ones_like(p, dtype=bool)),
    "long": document(LONG, n_heads=1),
    "page": document(LONG[:60], n_heads=1),
}
PLAIN = {
    "fruits-20": ("fruits", ["--width", "20"]),
    "fruits-40": ("fruits", ["--width", "40"]),
    "fruits-80": ("fruits", ["--width", "80"]),
    "fruits-200": ("fruits", ["--width", "200"]),
    "one-head": ("fruits", ["--head", "2"]),
    "mean": ("fruits", ["--mean"]),
    "values": ("fruits", ["--head", "0", "--numbers"]),
    "odd-80": ("odd", []),
    "odd-40": ("odd", ["--width", "40"]),
    "causal": ("causal", []),
    "linear": ("linear", ["--numbers"]),
    "cross": ("cross", []),
    "word": ("word", []),
    "overview-80": ("long", []),
    "overview-40": ("long", ["--width", "40"]),
    "window": ("long", ["--window", "20:32"]),
    "page": ("page", []),
}
COLOURED = {
    "true-dark": ("fruits", "truecolor", "dark"),
    "true-light": ("fruits", "truecolor", "light"),
    "256-dark": ("fruits", "256color", "dark"),
    "16-light": ("fruits", "16", "light"),
    "half-blocks": ("page", "truecolor", "dark"),
    "signed": ("linear", "truecolor", "dark"),
}


def draw(qkv: Qkv, folder: Path, which: dict[str, Any], *args: str) -> Result:
    (folder / "maps.json").write_text(json.dumps(which))
    result = qkv("render", folder / "maps.json", *args)
    assert result.code == 0, result.stderr
    return result


@pytest.mark.parametrize("name", PLAIN)
def test_render_without_colour_matches_recording(tmp_path: Path, qkv: Qkv, name: str) -> None:
    which, args = PLAIN[name]
    result = draw(qkv, tmp_path, DOCUMENTS[which], *args).stdout
    width = int(args[args.index("--width") + 1]) if "--width" in args else 80
    assert result == recorded(f"render/{name}.txt", result)
    check_plain(result, width)


@pytest.mark.parametrize("name", COLOURED)
def test_render_in_colour_matches_recording_at_each_colour_depth(
    tmp_path: Path, qkv: Qkv, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    which, depth, background = COLOURED[name]
    monkeypatch.setenv("COLORTERM", "truecolor" if depth == "truecolor" else "")
    monkeypatch.setenv("TERM", "xterm" if depth == "16" else "xterm-256color")
    args = ["--color", "always", "--background", background]
    result = draw(qkv, tmp_path, DOCUMENTS[which], *args).stdout
    assert result == recorded(f"render/{name}.txt", result)
    escapes = re.sub(r"\x1b\[[\d;]*m", "", result)
    assert "\x1b" not in escapes  # colours and nothing else
    mark = {"truecolor": "48;2;", "256color": "48;5;", "16": "\x1b["}[depth]
    assert mark in result


def test_render_of_long_text_states_block_size_of_cells(tmp_path: Path, qkv: Qkv) -> None:
    result = draw(qkv, tmp_path, DOCUMENTS["long"]).stdout
    assert re.search(r"each cell is the largest of \d+x\d+", result.replace("\n", " "))


SIGNS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=st.lists(SIGNS, min_size=1, max_size=9), width=st.integers(20, 120))
def test_render_of_arbitrary_tokens_fits_width_without_control_characters(
    tmp_path: Path, qkv: Qkv, words: list[str], width: int
) -> None:
    result = draw(qkv, tmp_path, document(words, n_heads=2), "--width", str(width)).stdout
    lines = result.split("\n")
    assert max(map(cell_len, lines)) <= width
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", result)
    names = next(line for line in lines if "L0H0" in line)
    assert names.strip().startswith("L0H0")
