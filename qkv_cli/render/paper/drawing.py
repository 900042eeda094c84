"""A drawing: a list of items with positions, in points from the upper left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.terminal_theme import TerminalTheme

from qkv_cli.names import Background
from qkv_cli.render.colours import Rgb, from_hex
from qkv_cli.visible import visible

Box = tuple[float, float, float, float]  # x, y, width, height


@dataclass(frozen=True, slots=True)
class Inks:
    """The colours of everything except weights."""

    ground: Rgb
    text: Rgb
    dim: Rgb
    accent: Rgb  # for the colours that users can change

    @property
    def sixteen(self) -> TerminalTheme:
        """Return the 16 terminal colours on paper."""
        return TerminalTheme(self.ground, self.text, [*[self.accent] * 7, self.text])


INKS: dict[Background, Inks] = {
    "light": Inks(
        ground=(255, 255, 255),
        text=from_hex("1c1b22"),
        dim=from_hex("66646f"),
        accent=from_hex("1b5e82"),
    ),
    "dark": Inks(
        ground=from_hex("121117"),
        text=from_hex("dededf"),
        dim=from_hex("93919d"),
        accent=from_hex("5fb9c8"),
    ),
}


@dataclass(frozen=True, slots=True)
class Font:
    size: float
    bold: bool = False
    mono: bool = False
    italic: bool = False


@dataclass(frozen=True, slots=True)
class Label:
    """A text on its baseline; rotated around its anchor if turned."""

    x: float
    y: float
    text: str
    font: Font
    ink: Rgb
    anchor: Literal["left", "center", "right"] = "left"
    angle: float = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", visible(self.text))


@dataclass(frozen=True, slots=True)
class Boxes:
    boxes: Sequence[Box]
    ink: Rgb


@dataclass(frozen=True, slots=True)
class Pixels:
    box: Box
    colours: NDArray[np.uint8]  # [n_row, n_column, 4]


@dataclass(slots=True)
class Drawing:
    """Items in drawing order, and the size of the drawing."""

    width: float
    height: float = 0
    items: list[Label | Boxes | Pixels] = field(default_factory=list)

    def place(self, other: Drawing, x: float, y: float) -> None:
        """Add another drawing, with its upper left at x, y."""
        for item in other.items:
            match item:
                case Label():
                    self.items.append(replace(item, x=item.x + x, y=item.y + y))
                case Boxes():
                    moved = [(box_left + x, top + y, w, h) for box_left, top, w, h in item.boxes]
                    self.items.append(replace(item, boxes=moved))
                case Pixels((box_left, top, w, h)):
                    self.items.append(replace(item, box=(box_left + x, top + y, w, h)))
        self.width = max(self.width, x + other.width)
        self.height = max(self.height, y + other.height)

    def add(self, item: Label | Boxes | Pixels) -> None:
        self.items.append(item)
