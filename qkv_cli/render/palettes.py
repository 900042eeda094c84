"""The palettes, as names and numbers, without imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arm:
    """One half of a diverging palette, from zero outwards to its most saturated colour.

    The two arms of a palette end on colours that differ in hue, not only in lightness: at
    least .3 apart in OKLab, on a dark and on a light background, in true colour and in 256.

    Attributes:
        dark, light: RRGGBB on either background, without the background itself.
        dark_256, light_256: The same in the fixed colours of a 256-colour terminal, with the
            background first; the hues of neighbours differ by less than 35 degrees.
        standard: In the 16 colours of an old terminal, on dark.
    """

    dark: Sequence[str]
    light: Sequence[str]
    dark_256: Sequence[int]
    light_256: Sequence[int]
    standard: Sequence[int]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of increasing lightness and, in a diverging palette, two arms for signed weights.

    Attributes:
        colours: From dark to light, RRGGBB; each lighter than the one before.
        standard: The same idea in the 16 colours of an old terminal, darkest first,
            without the background, which stands for zero.
        above, below: The arms for positive and negative weights of a diverging palette.
    """

    about: str
    colours: Sequence[str]
    standard: Sequence[int]
    above: Arm | None = None
    below: Arm | None = None


def _codes(text: str) -> list[str]:
    return text.split()


_ORANGE = Arm(
    dark=_codes("5a2a06 964609 c96714 ff8c1f"),
    light=_codes("ffe0bf ffb877 ea7f2c b84400"),
    dark_256=(234, 52, 88, 130, 166, 172, 208),
    light_256=(255, 223, 215, 208, 172, 166, 130),
    standard=(3, 11),
)
_BLUE = Arm(
    dark=_codes("0b3260 12509a 2a6fd2 4d94ff"),
    light=_codes("dbe8ff 9cc1ff 5a8fee 1f4fd0"),
    dark_256=(234, 18, 24, 25, 26, 32, 33),
    light_256=(255, 153, 111, 69, 33, 26, 20),
    standard=(4, 12),
)

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
        "black, purple, coral, cream",
        _codes("000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf"),
        (5, 9, 11, 15),
    ),
    "blues": Palette(
        "shades of blue",
        _codes("08172e 08306b 08519c 2171b5 4292c6 6baed6 9ecae1 c6dbef eaf3fb"),
        (4, 12, 14, 15),
    ),
    "greys": Palette(
        "shades of grey",
        _codes("101010 f4f4f4"),
        (8, 7, 15),
    ),
    "blue-orange": Palette(
        "diverging: blue below zero, orange above; the default for signed weights",
        _codes("2a1408 5a2a06 8c3f00 bf5b00 ea7f1f ffaa55 ffd3a1 fff0dd"),
        (1, 3, 11),
        above=_ORANGE,
        below=_BLUE,
    ),
    "green-purple": Palette(
        "diverging: purple below zero, green above",
        _codes("04200f 0a3d1f 125a31 237a45 46995f 7cba87 b1d8b2 e2f3df"),
        (2, 10, 15),
        above=Arm(
            dark=_codes("0a3d1f 1a6b34 2f9e4c 4fd264"),
            light=_codes("d2efd2 93d69a 4fae5e 147a2c"),
            dark_256=(234, 22, 28, 35, 71, 77),
            light_256=(255, 151, 114, 77, 71, 28, 22),
            standard=(2, 10),
        ),
        below=Arm(
            dark=_codes("41155a 6d2a94 9447c9 b96cff"),
            light=_codes("eadcf7 c9a2ee 9c5cd6 6f1fb5"),
            dark_256=(234, 54, 91, 97, 134, 141),
            light_256=(255, 183, 177, 141, 134, 91, 54),
            standard=(5, 13),
        ),
    ),
}
SIGNED = (_ORANGE, _BLUE)  # for signed weights, in palettes without arms
