"""Picture files: SVG, PDF, PNG and HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qkv_cli.errors import UsageError
from qkv_cli.names import Background, BackgroundMode
from qkv_cli.render.plate import HasPlate
from qkv_cli.render.theme import Theme

if TYPE_CHECKING:
    from rich.console import RenderableType


Draw = Callable[[Theme], "RenderableType"]
BACKGROUNDS: tuple[Background, ...] = ("light", "dark")
TITLE = "qkv"
COLUMNS = 130  # the default width of a picture
POINTS = 7.5  # the width of a terminal column on paper


def picture_file(
    kind: str,
    draws: Sequence[Draw],
    *,
    palette: str,
    background: BackgroundMode,
    columns: int = COLUMNS,
) -> bytes:
    """Return the bytes of a file with pictures.

    A renderable with a plate is drawn from it; any other is set in a monospaced font.

    Args:
        background: auto is light on paper, and the reader's own setting in a browser.
        columns: The width of a terminal in which the pictures would be drawn.

    Raises:
        UsageError: There is no such palette, or the file type holds only one picture.
    """
    if kind == "html":
        modes = [on for on in BACKGROUNDS if background in ("auto", on)]
        return _web(draws, {on: Theme.paper(palette, on) for on in modes}, background, columns)
    theme = Theme.paper(palette, "dark" if background == "dark" else "light")
    return _paper(kind, draws, theme, columns)


def _paper(kind: str, draws: Sequence[Draw], theme: Theme, columns: int) -> bytes:
    from qkv_cli.render.paper.drawing import INKS
    from qkv_cli.render.paper.file import encode_drawings
    from qkv_cli.render.paper.page import lay_out
    from qkv_cli.render.paper.text import typeset

    drawings, title = [], TITLE
    for draw in draws:
        picture = draw(theme)
        if isinstance(picture, HasPlate):
            plate = picture.plate("paper")
            title = plate.title if title == TITLE else title
            drawings.append(lay_out(plate, theme, columns * POINTS))
        else:
            drawings.append(typeset(picture, theme, columns))
    return encode_drawings(kind, drawings, title, INKS[theme.background])


def _web(
    draws: Sequence[Draw],
    themes: dict[Background, Theme],
    background: BackgroundMode,
    columns: int,
) -> bytes:
    from qkv_cli.render.web.page import map_page, table_page

    pictures = {on: [draw(theme) for draw in draws] for on, theme in themes.items()}
    first, *others = next(iter(pictures.values()))
    if not isinstance(first, HasPlate):
        return table_page(pictures, columns, background, TITLE)
    if others:
        raise UsageError(f"An .html file of maps holds one picture, not {len(draws)}: use .pdf.")
    return map_page(first.plate("page"), themes, background)
