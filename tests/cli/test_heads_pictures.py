"""Recorded tables of `qkv heads`, drawn from hand-made numbers without a model."""

from __future__ import annotations

import re

import pytest
from recordings import check_plain, recorded

from qkv_cli.analysis.labels import Evidence
from qkv_cli.analysis.measure import NAMES
from qkv_cli.analysis.study import Extent, HeadStatistics
from qkv_cli.cli.output import Look
from qkv_cli.core.info import ModelInfo
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.render.terminal.heads import HeadsTable

INFO = ModelInfo("hand", "bert", 12, 12, 64, 16, 99, "made by hand")
ABOUT = HeadMaps(INFO, "softmax", True, "", None, (), (), ())


def evidence(effect: float) -> Evidence:
    return Evidence(score=0.9, chance=0.1, effect=effect, n=100, p=1e-9)


def row(head: int, shares: list[float | None], **labels: float) -> HeadStatistics:
    return HeadStatistics(
        f"L11H{head}",
        "self",
        11,
        head,
        entropy=0.5 + head,
        entropy_share=0.1 * head,
        distance=12.34 if head else 3.0,
        shares=dict(zip(NAMES, shares, strict=True)),
        position=0.75,
        content=-0.02,
        evidence={kind: evidence(effect) for kind, effect in labels.items()},
        labels=list(labels),
    )


HEADS = [
    row(0, [None, 0.91, 0.02, 0.25, 0, 0.125, 0.5, None], previous=0.88),
    row(1, [None, 0.004, 0.02, 0.5, 1.0, 0.125, 0.5, 0.75], separators=0.99, duplicate=0.3),
    row(10, [None, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, None]),
]


def draw(look: Look, shuffled: int = 16, heads: list[HeadStatistics] = HEADS) -> str:
    extent = Extent(1000, 25_317, shuffled)
    return look.text(lambda theme: HeadsTable(ABOUT, extent, heads, theme))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_heads_table_without_colour_matches_recording(width: int) -> None:
    result = draw(Look(color="never", width=width))
    assert result == recorded(f"heads/table-{width}.txt", result)
    check_plain(result, width)


@pytest.mark.parametrize("width", range(20, 120, 7))
def test_heads_table_of_any_width_shows_or_names_every_column(width: int) -> None:
    result = draw(Look(color="never", width=width))
    titles = result.split("\n\n")[1].splitlines()[0]
    joined = " ".join(result.split())
    for title in ("bits", "max", "prev", "sep", "cont"):
        assert title in titles.split() or re.search(rf"no room for [^·]*\b{title}\b", joined)
    assert "previous .88" in result


@pytest.mark.parametrize("background", ["dark", "light"])
def test_heads_table_in_colour_matches_recording(
    monkeypatch: pytest.MonkeyPatch, background
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    result = draw(Look(color="always", background=background, width=80))
    assert result == recorded(f"heads/colour-{background}.txt", result)
    assert "\x1b" not in re.sub(r"\x1b\[[\d;]*m", "", result)


def test_heads_table_without_shuffles_does_not_mention_labels() -> None:
    result = draw(Look(color="never", width=80), shuffled=0)
    assert "shuffled readings" not in result
    assert "a label stands" not in result
