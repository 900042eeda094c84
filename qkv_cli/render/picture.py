"""Pictures that leave the terminal: SVG, PDF, PNG and HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qkv_cli.errors import UsageError
from qkv_cli.names import Background
from qkv_cli.render.plate import HasPlate
from qkv_cli.render.theme import Theme

if TYPE_CHECKING:
    from rich.console import RenderableType


Draw = Callable[[Theme], "RenderableType"]
BACKGROUNDS: tuple[Background, ...] = ("light", "dark")
TITLE = "qkv"
COLUMNS = 130  # that a picture is wide
POINTS = 7.5  # that a column of a terminal is wide on paper


@dataclass(frozen=True, slots=True)
class Looks:
    """How a file looks. `background` auto is light on paper, and the reader's own in a browser."""

    palette: str
    background: Literal["auto", "dark", "light"]
    columns: int = COLUMNS

    def theme(self, background: Background) -> Theme:
        return Theme.paper(self.palette, background)


def file_of(kind: str, draws: Sequence[Draw], looks: Looks) -> bytes:
    """Pictures of the terminal as one file without anything of a terminal about it.

    Those that can say what they hold are drawn anew; the others are set in a monospaced font.

    Raises:
        UsageError: There is no such palette, or the file holds fewer pictures.
    """
    return _web(draws, looks) if kind == "html" else _paper(kind, draws, looks)


def _paper(kind: str, draws: Sequence[Draw], looks: Looks) -> bytes:
    from qkv_cli.render.paper.drawing import INKS
    from qkv_cli.render.paper.file import encoded
    from qkv_cli.render.paper.page import drawn
    from qkv_cli.render.paper.text import typed

    theme = looks.theme("dark" if looks.background == "dark" else "light")
    drawings, title = [], TITLE
    for draw in draws:
        picture = draw(theme)
        if isinstance(picture, HasPlate):
            plate = picture.plate()
            title = plate.title if title == TITLE else title
            drawings.append(drawn(plate, theme, looks.columns * POINTS))
        else:
            drawings.append(typed(picture, theme, looks.columns))
    return encoded(kind, drawings, title, INKS[theme.background])


def _web(draws: Sequence[Draw], looks: Looks) -> bytes:
    from qkv_cli.render.web.page import page
    from qkv_cli.render.web.still import still

    themes = {on: looks.theme(on) for on in BACKGROUNDS if looks.background in ("auto", on)}
    pictures = {on: [draw(theme) for draw in draws] for on, theme in themes.items()}
    first, *others = next(iter(pictures.values()))
    if not isinstance(first, HasPlate):
        return still(pictures, looks.columns, looks.background, TITLE)
    if others:
        raise UsageError(f"An .html file of maps holds one picture, not {len(draws)}: use .pdf.")
    return page(first.plate(), themes, looks.background)
