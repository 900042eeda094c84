"""Colours: OKLab, and the colour or shade of each level of weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from rich.color import Color, ColorType
from rich.style import Style

from qkv_cli.names import Background
from qkv_cli.render.palettes import Arm, Palette

Rgb = tuple[int, int, int]
Lab = tuple[float, float, float]  # lightness 0 to 1, green to red, blue to yellow


def from_hex(code: str) -> Rgb:
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def luminance(rgb: Rgb) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.1)."""
    r, g, b = (_linear(c) for c in rgb)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def text_on(rgb: Rgb) -> Rgb:
    """Return black or white, whichever has the higher contrast (WCAG 2.1)."""
    light = luminance(rgb) + 0.05
    return (0, 0, 0) if light / 0.05 >= 1.05 / light else (255, 255, 255)


def oklab(rgb: Rgb) -> Lab:
    """Convert sRGB to OKLab (Ottosson 2020, bottosson.github.io/posts/oklab)."""
    r, g, b = (_linear(c) for c in rgb)
    l_ = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    m_ = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    s_ = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * l_ + 0.7936177850 * m_ - 0.0040720468 * s_,
        1.9779984951 * l_ - 2.4285922050 * m_ + 0.4505937099 * s_,
        0.0259040371 * l_ + 0.7827717662 * m_ - 0.8086757660 * s_,
    )


def to_rgb(lab: Lab) -> Rgb:
    """Convert OKLab to sRGB, clipped to the gamut."""
    L, a, b = lab
    l_ = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m_ = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s_ = (L - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _byte(4.0767416621 * l_ - 3.3077115913 * m_ + 0.2309699292 * s_),
        _byte(-1.2684380046 * l_ + 2.6097574011 * m_ - 0.3413193965 * s_),
        _byte(-0.0041960863 * l_ - 0.7034186147 * m_ + 1.7076147010 * s_),
    )


def ramp(anchors: Sequence[Rgb], n: int) -> list[Rgb]:
    """Return n colours along the anchors, in even steps of lightness."""
    path = [oklab(anchor) for anchor in anchors]
    first, last = path[0][0], path[-1][0]
    return [to_rgb(_at_lightness(path, first + (last - first) * i / (n - 1))) for i in range(n)]


def _at_lightness(path: Sequence[Lab], lightness: float) -> Lab:
    for lower, upper in pairwise(path):
        if min(lower[0], upper[0]) <= lightness <= max(lower[0], upper[0]):
            t = (lightness - lower[0]) / (upper[0] - lower[0])
            return (
                lightness,
                lower[1] + t * (upper[1] - lower[1]),
                lower[2] + t * (upper[2] - lower[2]),
            )
    return path[-1]


def _linear(byte: int) -> float:
    c = byte / 255
    return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4


def _byte(linear: float) -> int:
    c = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055))


Depth = Literal["truecolor", "256", "standard"]

# The colour of 0 differs slightly from the background, so masked cells, which are blank, differ
# from cells without weight.
GROUND: dict[Background, Rgb] = {"dark": from_hex("211f29"), "light": from_hex("f0eee8")}
LEVELS = 48
DOT = "·"
SHADES = "░▒▓█"
STROKES = "-=≡▤"  # below zero
# The same in ASCII, with more steps for unsigned weights.
ASCII_DOT, ASCII_SHADES, ASCII_ABOVE, ASCII_BELOW = ".", ":-=+*#%@", ":+*@", "-~=#"


@dataclass(frozen=True, slots=True)
class Ink:
    """One level: a glyph on a background colour."""

    glyph: str
    style: Style
    number: Style  # the colour of a number in the cell

    def cell(self, width: int) -> str:
        """Return the glyph repeated over a cell; the dot for no weight appears once."""
        is_dot = self.glyph in (DOT, ASCII_DOT)
        return self.glyph.center(width) if is_dot else self.glyph * width


NOTHING = Ink(DOT, Style(dim=True), Style(dim=True))  # a weight of about 0


@dataclass(frozen=True, slots=True)
class Ramp:
    """Inks in order; `zero` is the index of the ink for 0, the first or the middle one."""

    inks: Sequence[Ink]
    zero: int


Inks = list[Ink]  # from zero outwards


def shades(*, signed: bool, ascii_only: bool = False) -> Ramp:
    """Return shades, for output without colour: more ink is more weight."""
    dot, light_to_dark, strokes = DOT, SHADES, STROKES
    if ascii_only:
        dot, strokes = ASCII_DOT, ASCII_BELOW
        light_to_dark = ASCII_ABOVE if signed else ASCII_SHADES
    none, dim = Style.null(), Style(dim=True)
    above = [Ink(dot, dim, dim), *(Ink(glyph, none, none) for glyph in light_to_dark)]
    below = [Ink(glyph, none, none) for glyph in reversed(strokes)] if signed else []
    return Ramp([*below, *above], len(below))


def solids(palette: Palette, depth: Depth, on: Background) -> Inks:
    """Return flat colours, in increasing distance from the background in lightness."""
    if depth == "standard":
        return _sixteen(palette.standard, on)
    even = even_colours(palette, on, LEVELS)
    if depth == "truecolor":
        return [_flat(Color.from_rgb(*rgb)) for rgb in even]
    return [_flat(Color.from_ansi(n)) for n in _in_256(even)]


def arm_solids(arm: Arm, depth: Depth, on: Background) -> Inks:
    """Return flat colours of one arm of a diverging palette, the background first."""
    if depth == "standard":
        return _sixteen(arm.standard, on)
    if depth == "truecolor":
        return [_flat(Color.from_rgb(*rgb)) for rgb in arm_colours(arm, on, LEVELS)]
    return [_flat(Color.from_ansi(n)) for n in (arm.dark_256 if on == "dark" else arm.light_256)]


def even_colours(palette: Palette, on: Background, n: int) -> list[Rgb]:
    """Return n colours of a palette, the background first."""
    ground = oklab(GROUND[on])[0]
    anchors = [from_hex(code) for code in palette.colours]
    # Anchors near the background would give the smallest weights the strongest hue.
    if on == "light":
        anchors = [a for a in reversed(anchors) if oklab(a)[0] < ground - 0.17]
    else:
        anchors = [a for a in anchors if oklab(a)[0] > ground + 0.1]
    return ramp([GROUND[on], *anchors], n)


def arm_colours(arm: Arm, on: Background, n: int) -> list[Rgb]:
    """Return n colours of one arm of a diverging palette, the background first."""
    return ramp([GROUND[on], *map(from_hex, arm.dark if on == "dark" else arm.light)], n)


def join_arms(above: Inks, below: Inks) -> Ramp:
    """Join two arms at zero, with the same number of steps on both sides."""
    n = min(len(above), len(below))
    up, down = _thinned(above, n), _thinned(below, n)
    return Ramp([*reversed(down[1:]), *up], n - 1)


def interpolate(arm: Inks) -> Inks:
    """Make more levels from few colours, by shading each into the next."""
    steps = [NOTHING]
    for lower, upper in pairwise(arm):
        ink = Style(color=upper.style.bgcolor, bgcolor=lower.style.bgcolor)
        steps += [Ink(shade, ink, upper.number) for shade in SHADES[:-1]]
        steps.append(upper)
    return steps


def _flat(colour: Color) -> Ink:
    on_dark = text_on(_in_truth(colour)) == (255, 255, 255)
    if colour.type is ColorType.STANDARD:
        text = Color.from_ansi(15 if on_dark else 0)
    else:  # 16 and 231 are black and white in every terminal; 0 and 15 can be changed by the user
        text = Color.from_ansi(231 if on_dark else 16)
    return Ink(" ", Style(bgcolor=colour), Style(color=text, bgcolor=colour))


def _sixteen(standard: Sequence[int], on: Background) -> Inks:
    numbers = standard if on == "dark" else [*reversed(standard)]
    ground = Ink(" ", Style.null(), Style(dim=True))
    return [ground, *(_flat(Color.from_ansi(n)) for n in numbers)]


def _in_256(even: Iterable[Rgb]) -> list[int]:
    """Return the nearest of the 240 fixed colours that continues the ramp."""
    table = {n: oklab(_in_truth(Color.from_ansi(n))) for n in range(16, 256)}
    indices: list[int] = []
    labs = [oklab(rgb) for rgb in even]
    away = 1 if labs[-1][0] > labs[0][0] else -1
    for lab in labs:
        nearest = min(
            table, key=lambda n: sum((x - y) ** 2 for x, y in zip(table[n], lab, strict=True))
        )
        if not indices or away * (table[nearest][0] - table[indices[-1]][0]) > 0.005:
            indices.append(nearest)
    return indices


def _thinned(arm: Inks, n: int) -> Inks:
    return [arm[round(i * (len(arm) - 1) / (n - 1))] for i in range(n)]


def _in_truth(colour: Color) -> Rgb:
    """Return the usual RGB value of a colour of the terminal."""
    red, green, blue = colour.get_truecolor()
    return red, green, blue
