"""Recorded pictures of `qkv grid`, drawn from hand-made weights without a model."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from recordings import check_plain, recorded
from rich.cells import cell_len

from qkv_cli.analysis.measure import NAMES
from qkv_cli.analysis.study import Mark
from qkv_cli.cli.output import Look
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.render.terminal.grid import SIGNS, Thumbnails, sheet
from qkv_cli.render.weights import pooled, pooled_visible, visible_cells

INFO = ModelInfo("hand", "bert", 12, 12, 64, 16, 99, "made by hand")
ODD = "naïve 日本語 👩‍👩‍👧 שלום \x1b[31m"
MARKS = [
    Mark("previous", 0, 1, 0.98),
    Mark("induction", 0, 1, 0.25),
    *(Mark("first", 1, head, 0.9 - head / 20) for head in range(2, 12)),
]


def maps(
    n_layers: int = 2,
    n_heads: int = 12,
    n_query: int = 14,
    n_key: int | None = None,
    *,
    masked: bool = False,
    sign: float = 1,
) -> HeadMaps:
    """Rows in eighths, so that every machine draws the same."""
    n_key = n_key or n_query
    result = []
    for layer in range(n_layers):
        for head in range(n_heads):
            weights = np.zeros((n_query, n_key), np.float32)
            for i in range(n_query):
                weights[i, (i + head - 1) % n_key] += 0.625
                weights[i, (3 * i + layer) % n_key] += 0.375 * sign
            scores = np.zeros_like(weights)
            if masked:
                scores[np.triu_indices(n_query, 1)] = -np.inf
                weights[np.isneginf(scores)] = 0
            name, mask = f"L{layer}H{head}", scores == 0
            result.append(HeadMap(name, "self", layer, head, weights, scores, mask=mask))
    words = [*ODD.split(), *(f"w{i}" for i in range(600))]
    tokens = [Token(i, w, w, i, i, i + 1) for i, w in enumerate(words[: max(n_query, n_key)])]
    is_one_text = n_key == n_query
    return HeadMaps(
        INFO,
        "softmax" if sign > 0 else "linear",
        masked,
        "",
        None if is_one_text else ODD,
        tokens[:n_query],
        tokens[:n_key],
        result,
    )


GRIDS = {
    "grid": (maps(), MARKS, 4),
    "none": (maps(n_layers=1, n_heads=3, n_query=5), [], 1),
    "long": (maps(n_layers=2, n_heads=4, n_query=512, masked=True), MARKS[:2], 0),
    "signed": (maps(n_layers=1, n_heads=5, n_query=6, sign=-1), [], 0),
    "cross": (maps(n_layers=2, n_heads=4, n_query=3, n_key=40), [], 4),
    "bare": (maps(n_layers=1, n_heads=2, n_query=1, masked=True), [], 4),
    "bands": (maps(n_layers=2, n_heads=40, n_query=9), MARKS, 4),
}
PLAIN = [("grid", 40), ("grid", 80), ("grid", 200), ("none", 80), ("long", 80), ("signed", 80)]
PLAIN += [("cross", 80), ("bare", 40), ("bands", 80), ("none", 20)]


def draw(name: str, look: Look) -> str:
    result, marks, n_shuffles = GRIDS[name]
    return look.text(lambda theme: Thumbnails(result, theme, marks, n_shuffles))


@pytest.mark.parametrize(("name", "width"), PLAIN)
def test_grid_picture_without_colour_matches_recording(name: str, width: int) -> None:
    result = draw(name, Look(color="never", width=width))
    assert result == recorded(f"grid/{name}-{width}.txt", result)
    check_plain(result, width)


@pytest.mark.parametrize(
    ("name", "background"), [("grid", "dark"), ("grid", "light"), ("signed", "dark")]
)
def test_grid_picture_in_colour_matches_recording(
    monkeypatch: pytest.MonkeyPatch, name: str, background
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    result = draw(name, Look(color="always", background=background, width=80))
    assert result == recorded(f"grid/{name}-{background}.txt", result)
    plain = re.sub(r"\x1b\[[\d;]*m", "", result)
    assert "\x1b" not in plain
    assert max(map(cell_len, plain.splitlines())) <= 80


def test_grid_picture_of_any_width_names_every_head_and_mark() -> None:
    for width in range(40, 200, 13):
        result = draw("bands", Look(color="never", width=width))
        assert all(len(re.findall(rf"\bH{head}\b", result)) >= 2 for head in range(40)), width
        assert "H1 <i" in result and "H2 ^" in result and "H11 ^" in result
        assert re.search(rf"^{re.escape(SIGNS['first'])} first  L1H2 .80 · ", result, re.M)
        assert "and 2 more" in result
        assert "of 40 heads fit side by side" in " ".join(result.split())


def test_signs_of_head_kinds_are_distinct() -> None:
    assert len(set(SIGNS.values())) == len(NAMES)


def test_grid_picture_of_long_text_pools_each_block_to_largest_weight() -> None:
    """The darkest shade of the picture is at the largest weight."""
    result, _, _ = GRIDS["none"]
    m = result.maps[0]
    weights = np.full((64, 64), 1 / 128, np.float32)
    weights[9, 40] = 1.0
    big = [Token(i, "w", "w", i, i, i + 1) for i in range(64)]
    single_map = HeadMaps(
        INFO,
        "softmax",
        False,
        "",
        None,
        big,
        big,
        [HeadMap(m.name, m.block, 0, 0, weights, np.zeros_like(weights))],
    )
    text = Look(color="never", width=80).text(lambda theme: Thumbnails(single_map, theme))
    assert "each cell is the largest of 2x2 weights (queries x keys)" in text
    rows = [line[3:] for line in text.splitlines() if line.startswith("   ")]
    assert len(rows) == 32
    assert [(i, row.index("█")) for i, row in enumerate(rows) if "█" in row] == [(4, 20)]


@pytest.mark.parametrize(("n_query", "n_key"), [(1, 1), (3, 3), (14, 14), (512, 512), (4, 90)])
def test_sheet_of_any_size_fits_width(n_query: int, n_key: int) -> None:
    for width, n_heads in product(range(20, 201, 9), [1, 2, 3, 8, 12, 16, 32, 71]):
        s = sheet(n_heads=n_heads, n_query=n_query, n_key=n_key, name=5, gutter=4, width=width)
        assert s.gutter + s.across * s.tile + (s.across - 1) * s.gap <= width, (width, n_heads)
        assert s.scale * -(-n_key // s.blocks[1]) <= s.tile
        assert 1 <= s.across <= n_heads


@pytest.mark.parametrize("blocks", [(1, 1), (2, 3), (5, 1), (9, 9)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("is_visible", [True, False])
def test_pooled_visible_equals_pooling_of_visible_cells(
    blocks, masked: bool, sign: float, is_visible: bool
) -> None:
    result = maps(n_layers=1, n_heads=2, n_query=13, masked=masked, sign=sign)
    if not is_visible:
        result = HeadMaps(
            *(getattr(result, f) for f in ("model", "weighting", "causal", "text", "source")),
            result.queries,
            result.keys,
            [
                HeadMap(m.name, m.block, m.layer, m.head, m.pattern, mask=m.mask)
                for m in result.maps
            ],
        )
    for pooled_block, expected in zip(
        pooled_visible(result, blocks),
        [pooled(w, blocks) for w in visible_cells(result)],
        strict=True,
    ):
        assert np.array_equal(pooled_block, expected, equal_nan=True)
