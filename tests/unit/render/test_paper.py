"""Contents and layout of paper pictures: colours, lengths and labels against arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.render.paper.drawing import INKS, Boxes, Drawing, Label, Pixels
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.paper.maps import (
    COLOURS,
    cells,
    draw_maps,
    draw_thumbnails,
    in_levels,
    measures,
)
from qkv_cli.render.paper.page import LONGEST, draw_bars, lay_out, widest_name
from qkv_cli.render.plate import Bars, Maps, Panel, Plate, attention_plate
from qkv_cli.render.text import spelled
from qkv_cli.render.theme import Theme

LIGHT = Theme.paper("viridis", "light")
NAN = float("nan")


def tokens(n: int) -> list[Token]:
    return [Token(i, f"w{i}", f"w{i}", i, 0, 0) for i in range(n)]


def part(weights: np.ndarray, **kwargs: object) -> Maps:
    n_query, n_key = weights.shape
    return Maps(tokens(n_query), tokens(n_key), [Panel("L0H0", 0, 0, weights)], **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("shapes", [True, False])
def test_cells_have_colour_of_their_weight(shapes: bool) -> None:
    weights = np.array([[NAN, 0.25, 0.75], [0.0, NAN, 0.5]])
    maps = part(weights)
    colours = LIGHT.colours(signed=False, n=COLOURS)
    result: dict[tuple[int, int], tuple[int, ...]] = {}
    for item in cells(in_levels(weights, maps), colours, 10, 100, 50, shapes=shapes):
        if isinstance(item, Pixels):
            assert item.box == (100, 50, 30, 20)
            for (row, column), alpha in np.ndenumerate(item.colours[..., 3]):
                if alpha:
                    result[row, column] = tuple(item.colours[row, column, :3].tolist())
        else:
            for x, y, width, height in item.boxes:
                assert width == height == 9.5  # a hair apart
                result[int((y - 50) // 10), int((x - 100) // 10)] = item.ink
    expected = {
        (row, column): colours[round(float(w) / 0.75 * 254)]
        for (row, column), w in np.ndenumerate(weights)
        if not np.isnan(w)
    }
    assert result == expected


def test_in_levels_of_signed_weights_puts_zero_in_middle_of_scale() -> None:
    weights = np.array([[-1.0, 0.0, 0.5]])
    assert in_levels(weights, part(weights)).tolist() == [[0, 127, 191]]  # 127 + 63.5, to even
    colours = LIGHT.colours(signed=True, n=COLOURS)
    assert len(colours) == COLOURS
    assert colours[127] == LIGHT.colours(signed=False, n=3)[0]  # the ground


def test_draw_bars_length_is_proportional_to_amount() -> None:
    bars = Bars("t", [("a", 0.5), ("bb", -0.25)], 2.0, ("3 more", 0.1))
    drawing = Drawing(0)
    draw_bars(drawing, bars, LIGHT, widest_name([bars]))
    long = [item.boxes[0][2] for item in drawing.items if isinstance(item, Boxes)]
    assert long == [LONGEST, LONGEST / 4, LONGEST, LONGEST / 8]
    labels = [item.text for item in drawing.items if isinstance(item, Label)]
    assert labels == ["t", "a", ".50", "bb", "-.25", "3 more", ".10"]


def test_draw_maps_places_labels_at_rows_and_columns() -> None:
    maps = part(np.ones((3, 4)))
    drawing = Drawing(0, 20)
    assert list(draw_maps(drawing, maps, LIGHT, 900, alone=True)) == []
    m = measures(maps, 900, large=True)
    labels = [i for i in drawing.items if isinstance(i, Label) and i.text.startswith("w")]
    rows = [i for i in labels if not i.angle][:3]
    columns = [i for i in labels if i.angle]
    assert [i.text for i in columns] == ["w0", "w1", "w2", "w3"]
    assert np.allclose(np.diff([i.y for i in rows]), m.cell)
    assert np.allclose(np.diff([i.x for i in columns]), m.cell)


@pytest.mark.parametrize("n", [1, 2, 30])
def test_lay_out_keeps_every_label_on_page(n: int) -> None:
    drawing = lay_out(Plate("t", "tiny", ["L0H0"], [part(np.ones((n, n)))]), LIGHT, 900)
    for item in drawing.items:
        if isinstance(item, Label):
            long = text_width(item.text, item.font)
            if item.angle:
                assert 0 <= item.y - long <= item.y <= drawing.height
            else:
                left = (
                    item.x - long * (item.anchor == "right") - long / 2 * (item.anchor == "center")
                )
                assert 0 <= left <= left + long <= drawing.width


def test_draw_maps_with_numbers_writes_them_if_cells_are_large_enough() -> None:
    drawing = Drawing(0)
    notes = list(
        draw_maps(drawing, part(np.full((2, 2), 0.5), numbers=True), LIGHT, 900, alone=True)
    )
    assert [i.text for i in drawing.items if isinstance(i, Label)].count(".50") == 4 + 1  # the bar
    assert notes == []
    long = part(np.full((2, 99), 0.5), numbers=True)
    notes = list(draw_maps(Drawing(0), long, LIGHT, 900, alone=True))
    assert "too many cells for the numbers" in notes


@pytest.mark.parametrize(("n", "every"), [(40, 1), (120, 1), (512, 4)])
def test_measures_label_every_nth_token_without_overlap(n: int, every: int) -> None:
    m = measures(part(np.ones((n, n))), 900, large=True)
    assert m.every == every
    assert m.every * m.cell >= m.label.size  # labels do not overlap
    assert m.cell * n <= 1151


def test_draw_thumbnails_of_long_text_pools_cells_and_notes_it() -> None:
    weights = np.zeros((130, 130))
    weights[2, 5] = 1.0
    maps = part(weights, small=True)
    drawing = Drawing(0)
    notes = list(draw_thumbnails(drawing, maps, LIGHT, 900))
    assert "each cell is the largest of 3x3 weights" in notes
    colours = LIGHT.colours(signed=False, n=COLOURS)
    strong = [i for i in drawing.items if isinstance(i, Boxes) and i.ink == colours[-1]]
    assert len(strong[0].boxes) == 1


def test_lay_out_places_parts_side_by_side_if_they_fit() -> None:
    parts = [part(np.ones((4, 4))), part(np.ones((4, 4)))]
    plate = Plate("t", "tiny", ["L0H0"], parts)
    wide, narrow = lay_out(plate, LIGHT, 900), lay_out(plate, LIGHT, 200)
    assert wide.width > narrow.width
    assert wide.height < narrow.height
    for drawing in (wide, narrow):
        for item in drawing.items:
            if isinstance(item, Boxes):
                for x, y, width, height in item.boxes:
                    assert 0 <= x <= x + width <= drawing.width
                    assert 0 <= y <= y + height <= drawing.height


def test_lay_out_of_fully_masked_map_states_that_no_weight_is_shown() -> None:
    info = ModelInfo("tiny", "word-vectors", 1, 1, 4, 4, 9, "learned")
    m = HeadMap("L0H0", "self", 0, 0, np.zeros((1, 1)), mask=np.zeros((1, 1), bool))
    maps = HeadMaps(info, "softmax", False, "a", None, tokens(1), tokens(1), [m])
    drawing = lay_out(attention_plate(maps), LIGHT, 900)
    caption = " ".join(i.text for i in drawing.items if isinstance(i, Label))
    assert "No weight to show." in caption


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\u0301e\u0301", "a\u0301e\u0301"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("\u202ea", "\\u202ea"),
        ("a\nb", "a␊b"),
        (" a", "·a"),
        ("\ufe0f", "\\ufe0f"),
        ("x" * 30, "x" * 19 + "…"),
    ],
)
def test_spelled_keeps_text_and_escapes_control_characters(text: str, escaped: str) -> None:
    assert spelled(Token(0, text, text, 0, 0, 1), 20) == escaped


def test_inks_have_readable_contrast_with_background() -> None:
    from qkv_cli.render.colours import luminance

    for inks in INKS.values():
        ground = luminance(inks.ground) + 0.05
        for ink in (inks.text, inks.dim, inks.accent):
            light = luminance(ink) + 0.05
            assert max(light / ground, ground / light) >= 4.5  # WCAG 2.1, AA
