"""Palettes: colours are ordered by lightness, and the two signs are distinguishable."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import pytest
from rich.color import Color

from qkv_cli.names import Background
from qkv_cli.render.colours import Depth, Lab, oklab
from qkv_cli.render.palettes import PALETTES
from qkv_cli.render.theme import Theme

DEPTHS = get_args(Depth)
BACKGROUNDS = get_args(Background)


def labs(palette: str, depth: Depth, on: Background, *, signed: bool) -> list[Lab]:
    """The flat colours of a ramp, from its first ink to its last, in OKLab."""
    inks = Theme(depth, on, palette).pixels(signed=signed).inks
    colours = [ink.style.bgcolor or Color.default() for ink in inks]
    return [oklab(tuple(colour.get_truecolor())) for colour in colours]


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("on", BACKGROUNDS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_signed_ramp_ends_differ_in_every_palette_and_depth(palette, on, depth) -> None:
    """.3 in OKLab is the distance between, for instance, a middle grey and black."""
    path = labs(palette, depth, on, signed=True)
    assert math.dist(path[0], path[-1]) >= 0.3


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("on", BACKGROUNDS)
def test_signed_ramp_ends_differ_on_paper(palette, on) -> None:
    below, *_, above = Theme.paper(palette, on).colours(signed=True, n=65)
    assert math.dist(oklab(below), oklab(above)) >= 0.3


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("on", BACKGROUNDS)
@pytest.mark.parametrize("depth", ["truecolor", "256"])
def test_signed_ramp_lightness_moves_away_from_background_on_both_arms(palette, on, depth) -> None:
    ramp = Theme(depth, on, palette).pixels(signed=True)
    path = labs(palette, depth, on, signed=True)
    away = 1 if on == "dark" else -1
    for arm in (path[ramp.zero :], path[ramp.zero :: -1]):
        assert all(away * (outer[0] - inner[0]) > 0 for inner, outer in pairwise(arm))


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("on", BACKGROUNDS)
def test_signed_ramp_of_256_colours_keeps_hue_of_each_arm(palette, on) -> None:
    ramp = Theme("256", on, palette).pixels(signed=True)
    path = labs(palette, "256", on, signed=True)
    for arm in (path[ramp.zero :], path[ramp.zero :: -1]):
        hues = [math.degrees(math.atan2(b, a)) for _, a, b in arm if math.hypot(a, b) > 0.03]
        assert len(hues) >= 4
        assert all(abs((next_hue - hue + 180) % 360 - 180) < 35 for hue, next_hue in pairwise(hues))


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("on", BACKGROUNDS)
def test_signed_ramp_of_256_colours_has_different_colours_on_each_arm(palette, on) -> None:
    ramp = Theme("256", on, palette).pixels(signed=True)
    path = labs(palette, "256", on, signed=True)
    above, below = path[ramp.zero + 1 :], path[: ramp.zero][::-1]
    assert all(math.dist(plus, minus) > 0.1 for plus, minus in zip(above, below, strict=True))


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("on", BACKGROUNDS)
@pytest.mark.parametrize("depth", ["truecolor", "256"])
def test_ramp_of_weights_lightness_moves_away_from_background(palette, on, depth) -> None:
    path = labs(palette, depth, on, signed=False)
    away = 1 if on == "dark" else -1
    assert len(path) >= 10
    assert all(away * (outer[0] - inner[0]) > 0 for inner, outer in pairwise(path))
