"""How a picture is laid out: cells, maps side by side, and names, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qkv_cli.render.terminal.tiles import Request, TileLayout, plan_tiles

# Five words of four letters in one map: labels take 4 + 1 of 80 columns, cells 75 / 5 = 15.
REQUEST = Request(
    n_maps=1,
    n_query=5,
    n_key=5,
    query_width=4,
    line_width=9,
    key_width=4,
    last_key_width=4,
    name_width=4,
    number_width=0,
    width=80,
    colour=True,
    half_blocks=True,
    last_index=4,
)


def planned(**changes: object) -> TileLayout:
    return plan_tiles(replace(REQUEST, **changes))  # type: ignore[arg-type]


def test_plan_tiles_of_short_text_has_cells_of_six_columns_and_two_lines() -> None:
    assert planned() == TileLayout(
        cell=(6, 2),
        half=False,
        blocks=(1, 1),
        across=1,
        tile=30,
        gutter=5,
        label_style="across",
        head_lines=1,
        last_index=4,
    )


@pytest.mark.parametrize(
    ("width", "cell"),
    [
        (5 + 5 * 4, (4, 2)),  # room for four columns a key
        (5 + 5 * 4 - 1, (3, 1)),  # one column less: three a key
    ],
)
def test_plan_tiles_with_at_least_four_columns_has_cells_two_lines_high(
    width: int, cell: tuple[int, int]
) -> None:
    assert planned(width=width).cell == cell


@pytest.mark.parametrize(("n_query", "lines"), [(20, 2), (21, 1)])
def test_plan_tiles_of_at_most_twenty_queries_has_cells_two_lines_high(
    n_query: int, lines: int
) -> None:
    assert planned(n_query=n_query).cell == (6, lines)


@pytest.mark.parametrize(
    ("number_width", "colour", "lines"),
    [(3, False, 1), (3, True, 2), (0, False, 2)],
)
def test_plan_tiles_with_numbers_without_colour_has_cells_one_line_high(
    number_width: int, colour: bool, lines: int
) -> None:
    assert planned(number_width=number_width, colour=colour).cell == (6, lines)


@pytest.mark.parametrize(
    ("key_width", "heads", "head_lines", "columns"),
    [
        (14, "across", 1, 15),  # a word and a space fill 15 columns
        (15, "down", 14, 6),  # 16 are more than 15, or twice 6: letters below each other
        (11, "across", 1, 12),
    ],
)
def test_plan_tiles_writes_labels_across_if_widest_cell_holds_them(
    key_width: int, heads: str, head_lines: int, columns: int
) -> None:
    layout = planned(key_width=key_width)
    assert (layout.label_style, layout.head_lines, layout.cell[0]) == (heads, head_lines, columns)


@pytest.mark.parametrize(
    ("key_width", "width", "heads"),
    [
        (11, 5 + 5 * 6, "in turn"),  # a word and a space take two cells of six columns
        (12, 5 + 5 * 6, "down"),
        (7, 5 + 5 * 4, "in turn"),
        (5, 5 + 5 * 3, "down"),  # two cells would do, but three columns are too narrow
    ],
)
def test_plan_tiles_alternates_labels_on_two_lines_if_two_cells_hold_them(
    key_width: int, width: int, heads: str
) -> None:
    assert planned(key_width=key_width, width=width).label_style == heads


def test_plan_tiles_of_eight_maps_if_seven_fit_uses_two_bands_of_four() -> None:
    # Tiles of 10 columns, 3 between them: seven take 88 of the 95 columns next to the labels.
    layout = planned(n_maps=8, width=100)
    assert (layout.across, layout.tile) == (4, 5 * 4)


@pytest.mark.parametrize(
    ("n_query", "n_maps", "width", "half"),
    [
        (16, 2, 50, False),  # one whole map fits across: enough for a short text
        (17, 2, 50, True),  # a longer one is compared side by side, small
        (17, 2, 72, False),
        (17, 1, 50, False),
    ],
)
def test_plan_tiles_of_longer_text_uses_half_blocks_unless_two_maps_fit(
    n_query: int, n_maps: int, width: int, half: bool
) -> None:
    # Tiles of 16 x 2 columns; two of them and the gap take 67, labels 5.
    assert planned(n_query=n_query, n_maps=n_maps, n_key=16, width=width).half == half


def test_plan_tiles_of_long_text_pools_blocks_to_fit_width() -> None:
    # Labels: 3 digits, a space and 4 letters, and a space: 9 of 80. 71 columns hold 200 keys in
    # blocks of 3; 71 x 2 / 3 = 47 lines and one more hold 200 queries in blocks of 5, but a
    # block is no higher than it is wide.
    layout = planned(n_query=200, n_key=200, last_index=199)
    assert (layout.blocks, layout.tile, layout.gutter, layout.across) == ((3, 3), 71, 9, 1)
    # 48 queries over the same keys have a line each; of 49, two share a line.
    assert planned(n_query=48, n_key=200, last_index=199).blocks == (1, 3)
    assert planned(n_query=49, n_key=200, last_index=199).blocks == (2, 3)


def test_plan_tiles_with_alternating_labels_leaves_room_for_last_label() -> None:
    # Four columns a key, of 45: nine-letter names take turns, and the last begins in column 35.
    sizes = {"n_key": 9, "key_width": 7, "width": 45, "last_key_width": 7}
    assert planned(**sizes).label_style == "in turn"
    assert planned(**sizes).tile == 4 * 8 + 7
    assert planned(**{**sizes, "width": 42}).tile == 4 * 9  # no room: it is cut there


@pytest.mark.parametrize(("n_maps", "n_key"), [(8, 60), (12, 90), (2, 70)])
def test_plan_tiles_of_several_maps_pools_same_with_and_without_colour(n_maps, n_key) -> None:
    sizes = {"n_maps": n_maps, "n_query": n_key, "n_key": n_key, "last_index": n_key - 1}
    wide = {"query_width": 8, "line_width": 17, **sizes}
    coloured = planned(**wide)
    plain = planned(**wide, colour=False, half_blocks=False)
    assert (plain.across, plain.blocks) == (coloured.across, coloured.blocks)
