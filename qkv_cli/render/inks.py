"""Inks: how each level of weight is drawn, from the least to the most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from rich.color import Color, ColorType
from rich.style import Style

from qkv_cli.render.colour import Rgb, from_hex, oklab, ramp, text_on
from qkv_cli.render.palettes import Arm, Palette

Depth = Literal["truecolor", "256", "standard"]
Background = Literal["dark", "light"]

# The ground of a map is a little off the background: so a map has a body, and what cannot be
# looked at, which is left bare, differs from what nobody looks at.
GROUND: dict[Background, Rgb] = {"dark": from_hex("211f29"), "light": from_hex("f0eee8")}
LEVELS = 48
DOT = "·"
SHADES = "░▒▓█"
STROKES = "-=≡▤"  # below zero
# The same in ASCII. Where there is no minus to tell apart, more steps.
ASCII_DOT, ASCII_SHADES, ASCII_ABOVE, ASCII_BELOW = ".", ":-=+*#%@", ":+*@", "-~=#"


@dataclass(frozen=True, slots=True)
class Ink:
    """One level: a glyph over a ground."""

    glyph: str
    style: Style
    number: Style  # of a number written into the cell

    def cell(self, width: int) -> str:
        """The glyph over a cell's width; the dot of nothing stands alone in it."""
        is_dot = self.glyph in (DOT, ASCII_DOT)
        return self.glyph.center(width) if is_dot else self.glyph * width


NOTHING = Ink(DOT, Style(dim=True), Style(dim=True))  # a weight of about 0


@dataclass(frozen=True, slots=True)
class Ramp:
    """Inks in order. `zero` says which one stands for 0: the first, or the middle one."""

    inks: Sequence[Ink]
    zero: int


Inks = list[Ink]  # from zero outwards


def shades(*, signed: bool, ascii_only: bool = False) -> Ramp:
    """Without colour: the amount of ink on the cell is the weight."""
    dot, light_to_dark, strokes = DOT, SHADES, STROKES
    if ascii_only:
        dot, strokes = ASCII_DOT, ASCII_BELOW
        light_to_dark = ASCII_ABOVE if signed else ASCII_SHADES
    none, dim = Style.null(), Style(dim=True)
    above = [Ink(dot, dim, dim), *(Ink(glyph, none, none) for glyph in light_to_dark)]
    below = [Ink(glyph, none, none) for glyph in reversed(strokes)] if signed else []
    return Ramp([*below, *above], len(below))


def solids(palette: Palette, depth: Depth, on: Background) -> Inks:
    """Flat colours from the ground away, each further from it in lightness than the last."""
    if depth == "standard":
        return _sixteen(palette.standard, on)
    even = even_colours(palette, on, LEVELS)
    if depth == "truecolor":
        return [_flat(Color.from_rgb(*rgb)) for rgb in even]
    return [_flat(Color.from_ansi(n)) for n in _in_256(even)]


def arm_solids(arm: Arm, depth: Depth, on: Background) -> Inks:
    """Flat colours of one arm of a diverging palette, the ground first."""
    if depth == "standard":
        return _sixteen(arm.standard, on)
    if depth == "truecolor":
        return [_flat(Color.from_rgb(*rgb)) for rgb in arm_colours(arm, on, LEVELS)]
    return [_flat(Color.from_ansi(n)) for n in (arm.dark_256 if on == "dark" else arm.light_256)]


def even_colours(palette: Palette, on: Background, n: int) -> list[Rgb]:
    """n colours of a palette, the ground first."""
    ground = oklab(GROUND[on])[0]
    anchors = [from_hex(code) for code in palette.colours]
    # Anchors too near the ground would give the smallest weights the strongest hue.
    if on == "light":
        anchors = [a for a in reversed(anchors) if oklab(a)[0] < ground - 0.17]
    else:
        anchors = [a for a in anchors if oklab(a)[0] > ground + 0.1]
    return ramp([GROUND[on], *anchors], n)


def arm_colours(arm: Arm, on: Background, n: int) -> list[Rgb]:
    """n colours of one arm of a diverging palette, the ground first."""
    return ramp([GROUND[on], *map(from_hex, arm.dark if on == "dark" else arm.light)], n)


def joined(above: Inks, below: Inks) -> Ramp:
    """Two arms that meet at zero, in as many steps on either side."""
    n = min(len(above), len(below))
    up, down = _thinned(above, n), _thinned(below, n)
    return Ramp([*reversed(down[1:]), *up], n - 1)


def mixed(arm: Inks) -> Inks:
    """More levels out of few colours: each shaded into the next."""
    steps = [NOTHING]
    for one, two in pairwise(arm):
        ink = Style(color=two.style.bgcolor, bgcolor=one.style.bgcolor)
        steps += [Ink(shade, ink, two.number) for shade in SHADES[:-1]]
        steps.append(two)
    return steps


def _flat(colour: Color) -> Ink:
    on_dark = text_on(_in_truth(colour)) == (255, 255, 255)
    if colour.type is ColorType.STANDARD:
        text = Color.from_ansi(15 if on_dark else 0)
    else:  # 16 and 231 are black and white in every terminal, 0 and 15 what its owner likes
        text = Color.from_ansi(231 if on_dark else 16)
    return Ink(" ", Style(bgcolor=colour), Style(color=text, bgcolor=colour))


def _sixteen(standard: Sequence[int], on: Background) -> Inks:
    numbers = standard if on == "dark" else [*reversed(standard)]
    ground = Ink(" ", Style.null(), Style(dim=True))
    return [ground, *(_flat(Color.from_ansi(n)) for n in numbers)]


def _in_256(even: Iterable[Rgb]) -> list[int]:
    """The nearest of the fixed 240 colours, where that is a step on and none back."""
    table = {n: oklab(_in_truth(Color.from_ansi(n))) for n in range(16, 256)}
    chosen: list[int] = []
    labs = [oklab(rgb) for rgb in even]
    away = 1 if labs[-1][0] > labs[0][0] else -1
    for lab in labs:
        nearest = min(
            table, key=lambda n: sum((x - y) ** 2 for x, y in zip(table[n], lab, strict=True))
        )
        if not chosen or away * (table[nearest][0] - table[chosen[-1]][0]) > 0.005:
            chosen.append(nearest)
    return chosen


def _thinned(arm: Inks, n: int) -> Inks:
    return [arm[round(i * (len(arm) - 1) / (n - 1))] for i in range(n)]


def _in_truth(colour: Color) -> Rgb:
    """Its colour where the terminal's owner has not changed it."""
    red, green, blue = colour.get_truecolor()
    return red, green, blue
