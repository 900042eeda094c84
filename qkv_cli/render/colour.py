"""Colours as the eye has them: OKLab, and back to the bytes a terminal takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Rgb = tuple[int, int, int]
Lab = tuple[float, float, float]  # lightness 0 to 1, green to red, blue to yellow


def from_hex(code: str) -> Rgb:
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def luminance(rgb: Rgb) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.1)."""
    r, g, b = (_linear(c) for c in rgb)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def text_on(rgb: Rgb) -> Rgb:
    """Black or white, whichever has the higher contrast (WCAG 2.1, ratio of luminances)."""
    light = luminance(rgb) + 0.05
    return (0, 0, 0) if light / 0.05 >= 1.05 / light else (255, 255, 255)


def oklab(rgb: Rgb) -> Lab:
    """sRGB to OKLab (Ottosson 2020, bottosson.github.io/posts/oklab)."""
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
    """OKLab to sRGB; what no screen can show is clipped."""
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
    """n colours along the anchors, in even steps of lightness, which is what reads as more."""
    path = [oklab(anchor) for anchor in anchors]
    first, last = path[0][0], path[-1][0]
    return [to_rgb(_at_lightness(path, first + (last - first) * i / (n - 1))) for i in range(n)]


def _at_lightness(path: Sequence[Lab], lightness: float) -> Lab:
    for one, two in pairwise(path):
        if min(one[0], two[0]) <= lightness <= max(one[0], two[0]):
            t = (lightness - one[0]) / (two[0] - one[0])
            return lightness, one[1] + t * (two[1] - one[1]), one[2] + t * (two[2] - one[2])
    return path[-1]


def _linear(byte: int) -> float:
    c = byte / 255
    return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4


def _byte(linear: float) -> int:
    c = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055))
