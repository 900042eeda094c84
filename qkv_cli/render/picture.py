"""Pictures that leave the terminal: SVG, PDF, PNG and HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qkv_cli.render.plate import HasPlate
from qkv_cli.render.theme import Theme

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qkv_cli.render.inks import Background
    from qkv_cli.render.paper.drawing import Drawing

COLUMNS = 130  # that a picture is wide
POINTS = 7.5  # that a column of a terminal is wide on paper


@dataclass(frozen=True, slots=True)
class Looks:
    """How a file looks. `background` auto is light on paper, and the reader's own in a browser."""

    palette: str
    background: Literal["auto", "dark", "light"]
    columns: int | None = None

    @property
    def paper(self) -> Theme:
        on: Background = "dark" if self.background == "dark" else "light"
        return Theme.paper(self.palette, on)


def file_of(kind: str, draws: Sequence[Callable[[Theme], RenderableType]], looks: Looks) -> bytes:
    """Pictures of the terminal as one file without anything of a terminal about it.

    Those that can say what they hold are drawn anew; the others are set in a monospaced font.

    Raises:
        UsageError: There is no such palette, or there are several pictures for an SVG or PNG.
    """
    from qkv_cli.render.paper.drawing import INKS
    from qkv_cli.render.paper.file import encoded

    theme = looks.paper
    found = [_drawing(draw(theme), theme, looks.columns or COLUMNS) for draw in draws]
    drawings, titles = zip(*found, strict=True)
    return encoded(kind, drawings, titles[0], INKS[theme.background])


def _drawing(picture: RenderableType, theme: Theme, columns: int) -> tuple[Drawing, str]:
    """The drawing, and its title if it has one."""
    from qkv_cli.render.paper.page import drawn
    from qkv_cli.render.paper.text import typed

    if isinstance(picture, HasPlate):
        plate = picture.plate()
        return drawn(plate, theme, columns * POINTS), plate.title
    return typed(picture, theme, columns), "qkv"
