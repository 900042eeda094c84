"""Contents and layout of paper pictures: colours, lengths and labels against arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qkv_cli.analysis.focus import Focus
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.matrix import LazyMatrix
from qkv_cli.names import Show
from qkv_cli.render.paper.drawing import INKS, Boxes, Drawing, Label, Pixels
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.paper.maps import (
    COLOURS,
    cells,
    draw_maps,
    draw_thumbnails,
    in_levels,
    measures,
    ordinal,
)
from qkv_cli.render.paper.page import LONGEST, draw_bars, lay_out, widest_name
from qkv_cli.render.plate import (
    LONGEST_TITLE,
    Bars,
    Maps,
    Panel,
    Plate,
    Sentence,
    attention_plate,
    maps_part,
)
from qkv_cli.render.terminal.focus import FocusPicture
from qkv_cli.render.terminal.grid import PAPER_SIDE, Thumbnails
from qkv_cli.render.text import spelled
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import pooled, visible_cells

LIGHT = Theme.paper("viridis", "light")
NAN = float("nan")
INFO = ModelInfo("tiny", "word-vectors", 1, 1, 4, 4, 9, "learned")


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


def head_maps(n_query: int, n_key: int, *, shown: Show = "weights", lazy: bool = False) -> HeadMaps:
    """Return two causal maps of random numbers of both signs; scores are -inf where masked."""
    rng = np.random.default_rng(n_query * 1000 + n_key)
    mask = np.tri(n_query, n_key, dtype=bool)
    maps = []
    for head in range(2):
        pattern = np.where(mask, rng.normal(size=mask.shape), 0).astype(np.float32)
        scores = np.where(mask, rng.normal(size=mask.shape) - 3, -np.inf).astype(np.float32)
        arrays = {"pattern": pattern, "scores": scores, "mask": mask}
        if lazy:
            arrays = {name: LazyMatrix(a.shape, a.__getitem__) for name, a in arrays.items()}  # type: ignore[misc]
        maps.append(HeadMap(f"L0H{head}", "self", 0, head, **arrays))  # type: ignore[arg-type]
    other = None if n_query == n_key else "another text"
    queries, keys = tokens(n_query), tokens(n_key)
    return HeadMaps(INFO, "linear", True, "a", other, queries, keys, maps, shown=shown)


@pytest.mark.parametrize("shown", ["weights", "scores"])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("n_query", "n_key", "blocks"),
    [(8, 8, (1, 1)), (9, 9, (2, 2)), (31, 31, (4, 4)), (3, 50, (1, 7)), (41, 7, (6, 1))],
)
def test_maps_part_of_long_text_equals_pooling_of_whole_maps(
    monkeypatch: pytest.MonkeyPatch,
    shown: Show,
    lazy: bool,
    n_query: int,
    n_key: int,
    blocks: tuple[int, int],
) -> None:
    """In slices of rows that blocks do not divide, with masked cells and negative numbers."""
    whole_maps = head_maps(n_query, n_key, shown=shown)
    expected = [pooled(cells, blocks) for cells in visible_cells(whole_maps)]
    for rows_at_once in (1, 3, 100):
        monkeypatch.setattr("qkv_cli.maps.matrix.BLOCK_CELLS", rows_at_once * n_key)
        result = maps_part(head_maps(n_query, n_key, shown=shown, lazy=lazy), side=8)
        assert result.blocks == blocks
        for panel, cells_of_map in zip(result.panels, expected, strict=True):
            assert panel.weights.shape == (len(result.row_tokens), len(result.column_tokens))
            assert np.array_equal(panel.weights, cells_of_map, equal_nan=True)


def test_maps_part_of_long_text_says_what_a_cell_stands_for() -> None:
    window = "--window 0:8 shows a part in detail"
    cell = "each cell is the largest in magnitude of {} {}s (queries x keys)"
    assert {cell.format("2x2", "weight"), window} <= set(maps_part(head_maps(9, 9), side=8).notes)
    scores = maps_part(head_maps(9, 9, shown="scores"), side=8).notes
    assert cell.format("2x2", "score") in scores
    cross = maps_part(head_maps(3, 50), side=8).notes
    assert cell.format("1x7", "weight") in cross
    assert window not in cross
    short = maps_part(head_maps(8, 8), side=8).notes
    assert not any("each cell" in note or "--window" in note for note in short)


def test_draw_maps_of_pooled_text_labels_rows_with_first_token_of_their_block() -> None:
    maps = maps_part(head_maps(1300, 1300, lazy=True))
    assert maps.blocks == (3, 3)
    drawing = Drawing(0)
    notes = list(draw_maps(drawing, maps, LIGHT, 900, alone=False))
    m = measures(maps, 900, large=False)
    labels = [i for i in drawing.items if isinstance(i, Label) and " w" in i.text and not i.angle]
    step = 3 * m.every
    assert [i.text for i in labels] == [f"{at} w{at}" for at in range(0, 1300, step)]
    assert np.allclose(np.diff([i.y for i in labels]), m.cell * m.every)
    assert notes == [f"every {step}th token is labelled, with its number"]
    images = [i for i in drawing.items if isinstance(i, Pixels)]
    assert [i.colours.shape for i in images] == [(434, 434, 4)] * 2


def test_draw_maps_with_other_blocks_of_keys_than_of_queries_names_both() -> None:
    maps = maps_part(head_maps(3, 1300))
    [note] = draw_maps(Drawing(0), maps, LIGHT, 900, alone=False)
    assert measures(maps, 900, large=False).every == 8
    assert note == "every 8th query and every 24th key are labelled, with their numbers"


def test_plate_title_of_long_text_is_cut() -> None:
    maps = replace(head_maps(2, 2), text="word " * 9000)
    title = attention_plate(maps, []).title
    assert len(title) == LONGEST_TITLE
    assert title.startswith("tiny L0H0 and L0H1: word word")


def test_ordinal_ends_as_it_is_spoken() -> None:
    numbers = (2, 3, 4, 11, 12, 21, 52, 113, 1203, 1212)
    expected = "second third 4th 11th 12th 21st 52nd 113th 1,203rd 1,212th"
    assert " ".join(map(ordinal, numbers)) == expected


def test_draw_maps_of_pooled_pair_marks_every_block_with_words_of_second_text() -> None:
    pair = [replace(token, segment=int(token.i >= 5)) for token in tokens(9)]
    maps = maps_part(replace(head_maps(9, 9), queries=pair, keys=pair), side=4)
    drawing = Drawing(0)
    list(draw_maps(drawing, maps, LIGHT, 900, alone=False))
    m = measures(maps, 900, large=False)
    borders = [i.boxes[0] for i in drawing.items if isinstance(i, Boxes) and i.boxes[0][2] == 0.7]
    assert [box[3] for box in borders] == [pytest.approx(2 * m.cell)] * 2  # w3-w5 and w6-w8


def test_grid_on_paper_pools_to_thumbnails_and_notes_it() -> None:
    weights = np.zeros((130, 130), np.float32)
    weights[2, 5] = 1.0
    m = HeadMap("L0H0", "self", 0, 0, weights)
    maps = HeadMaps(INFO, "softmax", False, "a", None, tokens(130), tokens(130), [m])
    [page_part] = Thumbnails(maps, LIGHT).plate("page").parts
    assert isinstance(page_part, Maps) and page_part.blocks == (1, 1)
    [paper_part] = Thumbnails(maps, LIGHT).plate("paper").parts
    assert isinstance(paper_part, Maps) and max(paper_part.panels[0].weights.shape) <= PAPER_SIDE
    assert "each cell is the largest of 3x3 weights (queries x keys)" in paper_part.notes
    drawing = Drawing(0)
    list(draw_thumbnails(drawing, paper_part, LIGHT, 900))
    colours = LIGHT.colours(signed=False, n=COLOURS)
    strong = [i for i in drawing.items if isinstance(i, Boxes) and i.ink == colours[-1]]
    assert len(strong[0].boxes) == 1


@pytest.mark.parametrize(
    ("at", "first", "is_cross"),
    [(3, 0, False), (1200, 700, False), (2990, 2000, False), (1, 1567, True)],
)
def test_focus_of_long_text_on_paper_shows_words_around_the_selected_one(
    at: int, first: int, is_cross: bool
) -> None:
    weights = np.full((1, 3000), 0.125)
    weights[0, 2067] = 0.5
    source = "another text" if is_cross else None
    maps = replace(head_maps(1, 1), queries=tokens(3000), keys=tokens(3000), source=source)
    maps = replace(maps, maps=maps.maps[:1])
    f = Focus(maps, "query", at, weights, weights[0])
    plate = FocusPicture(f, LIGHT).plate("paper")
    sentence, bars = plate.parts[:2]
    assert isinstance(sentence, Sentence) and isinstance(bars, Bars)
    assert [token.i for token in sentence.tokens] == list(range(first, first + 1000))
    assert sentence.marked == (None if is_cross else at - first)
    assert bars.rows[0] == ("w2067", 0.5)
    note = f"the text shows words {first} to {first + 999}; the bars are of all 3,000"
    assert note in plate.statements


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
    m = HeadMap("L0H0", "self", 0, 0, np.zeros((1, 1)), mask=np.zeros((1, 1), bool))
    maps = HeadMaps(INFO, "softmax", False, "a", None, tokens(1), tokens(1), [m])
    drawing = lay_out(attention_plate(maps, [maps_part(maps)]), LIGHT, 900)
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
