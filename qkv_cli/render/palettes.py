"""The palettes there are. Only names and numbers, so that asking for them costs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Palette:
    """A way from dark to light, and for signed weights one for those below zero.

    Attributes:
        colours: From dark to light, RRGGBB; each lighter than the one before.
        standard: The same idea in the 16 colours of an old terminal, darkest first,
            without the background, which stands for zero.
        below: The colours for negative weights; none where the palette has one arm.
    """

    about: str
    colours: Sequence[str]
    standard: Sequence[int]
    below: Sequence[str] = ()
    standard_below: Sequence[int] = ()


def _codes(text: str) -> list[str]:
    return text.split()


# viridis and magma are by Smith and van der Walt, cividis by Nuñez, Anderton and Renslow
# (all CC0); these are ten even samples of each.
PALETTES: Mapping[str, Palette] = {
    "viridis": Palette(
        "violet, teal, yellow: even, and safe for every kind of colour blindness",
        _codes("440154 482878 3e4a89 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725"),
        (4, 6, 10, 11),
    ),
    "cividis": Palette(
        "blue, grey, yellow: looks the same with and without red-green blindness",
        _codes("00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838"),
        (4, 8, 7, 11),
    ),
    "magma": Palette(
        "black, plum, coral, cream",
        _codes("000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf"),
        (5, 9, 11, 15),
    ),
    "blues": Palette(
        "one hue",
        _codes("08172e 08306b 08519c 2171b5 4292c6 6baed6 9ecae1 c6dbef eaf3fb"),
        (4, 12, 14, 15),
    ),
    "greys": Palette(
        "no hue at all",
        _codes("101010 f4f4f4"),
        (8, 7, 15),
    ),
    "blue-orange": Palette(
        "two arms: blue below zero, orange above; drawn for signed weights whatever is chosen",
        _codes("2a1408 5a2a06 8c3f00 bf5b00 ea7f1f ffaa55 ffd3a1 fff0dd"),
        (1, 3, 11),
        _codes("0a1a30 0b3260 0f4f94 1f72c4 4a97e0 82baf2 b7d8fa e3f0ff"),
        (4, 12, 14),
    ),
    "green-purple": Palette(
        "two arms: purple below zero, green above",
        _codes("04200f 0a3d1f 125a31 237a45 46995f 7cba87 b1d8b2 e2f3df"),
        (2, 10, 15),
        _codes("22082e 41155a 5e2a7e 7d4a9b 9d71b6 bd9bcf d9c4e4 f2e8f5"),
        (5, 13, 15),
    ),
}
DEFAULT = "viridis"
SIGNED = "blue-orange"
