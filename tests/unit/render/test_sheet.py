"""How large thumbnails are: as large as few lines allow."""

from __future__ import annotations

from qkv_cli.render.terminal.grid import LINES, Sheet, sheet


def of(n: int, *, n_heads: int = 8, n_layers: int = 1, **flags: bool) -> Sheet:
    return sheet(
        n_heads=n_heads,
        n_query=n,
        n_key=n,
        name=4,
        gutter=3,
        width=80,
        n_layers=n_layers,
        **flags,
    )


def test_sheet_of_one_layer_adds_second_band_to_avoid_pooling() -> None:
    result = of(12)
    assert (result.across, result.blocks) == (4, (1, 1))


def test_sheet_of_one_layer_enlarges_short_text() -> None:
    result = of(5)
    assert (result.across, result.scale) == (4, 3)


def test_sheet_of_many_layers_places_all_heads_in_one_band() -> None:
    result = of(12, n_heads=12, n_layers=12)
    assert result.across == 12


def test_sheet_without_half_blocks_counts_one_line_per_row() -> None:
    assert of(16).blocks == (1, 1)
    assert of(16, half_blocks=False).across == 8  # 2 bands of 17 lines are more than LINES
    assert LINES < 2 * 17
