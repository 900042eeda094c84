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


def test_sheet_of_one_layer_uses_a_second_band_before_pooling() -> None:
    result = of(12)
    assert (result.across, result.blocks) == (4, (1, 1))


def test_sheet_of_one_layer_enlarges_a_short_text() -> None:
    result = of(5)
    assert (result.across, result.scale) == (4, 3)


def test_sheet_of_many_layers_stays_as_small_as_it_can() -> None:
    result = of(12, n_heads=12, n_layers=12)
    assert result.across == 12


def test_sheet_without_half_blocks_counts_whole_lines() -> None:
    assert of(16).blocks == (1, 1)
    assert of(16, half_blocks=False).across == 8  # 2 bands of 17 lines are more than LINES
    assert LINES < 2 * 17
