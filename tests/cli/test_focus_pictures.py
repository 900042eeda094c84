"""Recorded pictures of `qkv focus`, drawn from hand-made weights without a model."""

from __future__ import annotations

import re

import numpy as np
import pytest
from recordings import check_plain, recorded
from rich.cells import cell_len

from qkv_cli.analysis.focus import focus
from qkv_cli.cli.output import Look
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.render.terminal.focus import FocusPicture

INFO = ModelInfo("hand", "bert", 12, 12, 64, 16, 99, "made by hand")
FRUITS = "[CLS] the mango and the apple are fruits , too . [SEP]"
ODD = "naïve 日本語 👩‍👩‍👧 שלום \x1b[31m e\u0301té wonderfully"


def tokens(text: str) -> list[Token]:
    result, end = [], 0
    for i, part in enumerate(text.split()):
        special = part.startswith("[") and part.endswith("]")
        start = end + (not special and part not in ",.")
        visible_text = "" if special else part
        end = start + len(visible_text)
        result.append(Token(i, visible_text, part, i, start, end, special, unknown=part == "naïve"))
    return result


def maps(text: str, n_heads: int, *, source: str | None = None, sign: float = 1) -> HeadMaps:
    """Rows in eighths, so that all machines draw the same; a word cannot attend to itself."""
    queries = tokens(text)
    keys = queries if source is None else tokens(source)
    result = []
    for head in range(n_heads):
        weights = np.zeros((len(queries), len(keys)), np.float32)
        for i in range(len(queries)):
            for step, weight in ((1 + head, 0.5), (2 * head + 3, 0.375 * sign), (5, 0.125)):
                weights[i, (i + step) % len(keys)] += weight
        bare = np.eye(*weights.shape, dtype=bool) & (source is None)
        weights[bare] = 0
        scores = np.where(bare, -np.inf, 0)
        result.append(HeadMap(f"L0H{head}", "self", 0, head, weights, scores, mask=~bare))
    weighting = "softmax" if sign > 0 else "linear"
    return HeadMaps(INFO, weighting, False, text, source, queries, keys, result)


FOCUSES = {
    "heads": (focus(maps(FRUITS, 4), "query", 4), 5),
    "one": (focus(maps(FRUITS, 1), "query", 4), 2),
    "key": (focus(maps(FRUITS, 3), "key", 1), 3),
    "odd": (focus(maps(ODD, 2), "query", 1), 5),
    "cross": (focus(maps(FRUITS, 2, source=ODD), "query", 5), 5),
    "signed": (focus(maps(FRUITS, 2, sign=-1), "query", 2), 5),
    "word": (focus(maps("mango", 2), "query", 0), 5),
    "long": (focus(maps(" ".join(f"w{i}" for i in range(60)), 1), "query", 30), 5),
}
PLAIN = [("heads", 40), ("heads", 80), ("heads", 200), ("one", 80), ("key", 80), ("odd", 40)]
PLAIN += [("odd", 80), ("cross", 80), ("signed", 80), ("word", 80), ("long", 80), ("odd", 20)]


def draw(name: str, look: Look) -> str:
    f, top = FOCUSES[name]
    return look.text(lambda theme: FocusPicture(f, theme, top))


@pytest.mark.parametrize(("name", "width"), PLAIN)
def test_focus_picture_without_colour_matches_recording(name: str, width: int) -> None:
    result = draw(name, Look(color="never", width=width))
    assert result == recorded(f"focus/{name}-{width}.txt", result)
    check_plain(result, width)


@pytest.mark.parametrize(
    ("name", "background"), [("heads", "dark"), ("heads", "light"), ("signed", "dark")]
)
def test_focus_picture_in_colour_matches_recording(
    monkeypatch: pytest.MonkeyPatch, name: str, background
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    result = draw(name, Look(color="always", background=background, width=80))
    assert result == recorded(f"focus/{name}-{background}.txt", result)
    plain = re.sub(r"\x1b\[[\d;]*m", "", result)
    assert "\x1b" not in plain
    assert "[the] apple" in plain or "[mango] and" in plain


@pytest.mark.parametrize("width", range(20, 140, 7))
def test_focus_picture_of_any_width_fits_and_names_every_head(width: int) -> None:
    result = draw("heads", Look(color="never", width=width))
    for head in range(4):
        assert f"L0H{head}" in result
    assert max(map(cell_len, result.splitlines())) <= width
    assert "the₁" in result and "[the]" in result


def test_focus_picture_aligns_shades_with_words() -> None:
    """The shade below a word is exactly as wide as the word."""
    lines = draw("one", Look(color="never", width=80)).splitlines()
    at = next(i for i, line in enumerate(lines) if "mango" in line)
    words, shades = lines[at], lines[at + 1].ljust(len(lines[at]))
    start = words.index("apple")
    assert shades[start : start + 5] == "█████"
    assert shades[start - 1] == " " and shades[start + 5] == " "
