"""Recorded pictures of `qkv compare`, drawn from hand-made weights without a model."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from recordings import check_plain, recorded

from qkv_cli.analysis.compare import compare, nearest_heads
from qkv_cli.cli.output import Look
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.render.terminal.compare import ROWS, ComparePicture, NearestTable, pictures

INFO = ModelInfo("hand", "word-vectors", 1, 8, 8, 2, 9, "made by hand")
SHORT, LONGER = "the river bank", "the \x1b[31m muddy river bank"


def maps(text: str, head: int, *, masked: bool = True) -> HeadMaps:
    """Rows that sum to 1, in eighths at most, so that every machine draws the same."""
    words = text.split()
    tokens = [Token(i, w, w, i, i, i + 1) for i, w in enumerate(words)]
    n = len(words)
    pattern = np.zeros((n, n), np.float32)
    for i in range(n):
        for step, weight in ((1, 0.5), (2, 0.375), (1 + head, 0.125)):
            pattern[i, (i + step) % n] += weight
    mask = np.eye(n) == 0 if masked else np.ones((n, n), bool)
    scores = np.where(mask, 0, -np.inf)
    pattern = np.where(mask, pattern, 0)
    m = HeadMap(f"L0H{head}", "self", 0, head, pattern, scores, mask=mask)
    return HeadMaps(INFO, "softmax", False, text, None, tokens, tokens, [m])


PAIRS = {
    "heads": (maps("the mango and the apple are fruits", 0),
              maps("the mango and the apple are fruits", 3)),
    "texts": (maps(SHORT, 0), maps(LONGER, 1)),
    "same": (maps(SHORT, 0), maps(SHORT, 0)),
    "weightings": (maps(SHORT, 0), replace(maps(SHORT, 1), weighting="linear", causal=True)),
    "long": (maps(" ".join(f"w{i}" for i in range(60)), 1),
             maps(" ".join(f"w{i}" for i in range(60)), 5)),
}  # fmt: skip
PLAIN = [("heads", 40), ("heads", 80), ("heads", 200), ("texts", 80), ("same", 80)]
PLAIN += [("weightings", 80), ("long", 80), ("texts", 30)]


def draw(name: str, look: Look) -> str:
    c = compare(*PAIRS[name])
    return look.text(lambda theme: ComparePicture([c], ("A", "B"), theme))


@pytest.mark.parametrize(("name", "width"), PLAIN)
def test_compare_picture_without_colour_matches_recording(name: str, width: int) -> None:
    result = draw(name, Look(color="never", width=width))
    assert result == recorded(f"compare/{name}-{width}.txt", result)
    check_plain(result, width)


@pytest.mark.parametrize("background", ["dark", "light"])
def test_compare_picture_in_colour_matches_recording(
    monkeypatch: pytest.MonkeyPatch, background
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    result = draw("heads", Look(color="always", background=background, width=80))
    assert result == recorded(f"compare/colour-{background}.txt", result)
    assert "\x1b" not in re.sub(r"\x1b\[[\d;]*m", "", result)


def test_compare_picture_scales_maps_together_and_difference_separately() -> None:
    a, b = PAIRS["heads"]
    half = replace(b.maps[0], pattern=b.maps[0].pattern / 2)
    c = compare(a, replace(b, maps=[half]))
    look = Look(color="never", width=80)
    result = look.text(lambda theme: ComparePicture([c], ("A", "B"), theme))
    top = max(np.nanmax(c.weights_a), np.nanmax(c.weights_b))
    assert f"one scale for all maps: 0 to .{round(100 * top)}, the largest" in result
    largest_difference = np.nanmax(np.abs(c.difference))
    assert (
        f"scale: ±.{round(100 * largest_difference)}, the largest difference in magnitude" in result
    )
    assert "0 is in the middle of the bar" in result


def test_compare_picture_of_long_text_lists_most_divergent_rows_in_order() -> None:
    result = draw("long", Look(color="never", width=80))
    part = result.partition(f"the {ROWS} queries that diverge most")[2]
    listed_rows = re.findall(r"^  w(\d+) ", part.partition("largest differences")[0], flags=re.M)
    assert len(listed_rows) == ROWS
    assert list(map(int, listed_rows)) == sorted(map(int, listed_rows))


@pytest.mark.parametrize("width", [30, 80])
def test_nearest_table_matches_recording(width: int) -> None:
    head_maps = maps(SHORT, 0)
    candidates = replace(
        head_maps, maps=[maps(SHORT, head).maps[0] for head in range(4)], text=LONGER
    )
    near = nearest_heads(head_maps, candidates)
    look = Look(color="never", width=width)
    result = look.text(lambda theme: NearestTable(head_maps, candidates, near, theme))
    assert result == recorded(f"compare/nearest-{width}.txt", result)
    check_plain(result, width)


def test_nearest_table_without_other_heads_states_that() -> None:
    head = maps(SHORT, 0)
    look = Look(color="never", width=80)
    assert nearest_heads(head, head) == []
    assert "no other head to compare with" in look.text(
        lambda theme: NearestTable(head, head, [], theme)
    )


def test_compare_picture_of_three_maps_aligns_them_at_one_scale() -> None:
    """Cells of the differences have the same size as cells of the maps."""
    text = "the mango and the apple are fruits"
    pairs = [compare(maps(text, 0), maps(text, head)) for head in (3, 2)]
    [picture] = pictures(pairs)
    result = Look(color="never", width=100).text(picture)
    assert result == recorded("compare/several-100.txt", result)
    lines = result.splitlines()
    [names] = [line for line in lines if "A L0H0" in line and "B L0H3" in line]
    [changes] = [line for line in lines if "B - A" in line and "C - A" in line]
    assert "C L0H2" in names
    assert names.index("B L0H3") == changes.index("C - A")
    assert "the largest difference in magnitude" in " ".join(result.split())
    assert "A and B: Jensen-Shannon" in result and "A and C: Jensen-Shannon" in result
    assert "largest differences, A → C" in result


def test_pictures_of_comparisons_with_different_rows_are_separate() -> None:
    pairs = [compare(maps(SHORT, 0), maps(text, 1)) for text in (SHORT, LONGER, SHORT)]
    texts = [Look(color="never", width=80).text(picture) for picture in pictures(pairs)]
    assert [text.splitlines()[1][0] for text in texts] == ["B", "C", "D"]
