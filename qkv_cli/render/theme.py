"""The theme of an output: colour depth, background, palette and character set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rich.console import Console

from qkv_cli.errors import UsageError
from qkv_cli.names import DEFAULT_PALETTE, Background
from qkv_cli.render.colours import (
    SHADES,
    STROKES,
    Depth,
    Ramp,
    Rgb,
    arm_colours,
    arm_solids,
    even_colours,
    interpolate,
    join_arms,
    shades,
    solids,
)
from qkv_cli.render.encoding import UTF_8, Charset
from qkv_cli.render.palettes import PALETTES, SIGNED, Arm

__all__ = ["PALETTES", "Theme"]


@dataclass(frozen=True, slots=True)
class Theme:
    """The colour depth, background, palette and character set of one output."""

    depth: Depth | None = None  # None: no colour, shades instead
    background: Background = "dark"
    palette: str = DEFAULT_PALETTE
    charset: Charset = UTF_8

    @classmethod
    def detect(
        cls,
        console: Console,
        *,
        palette: str = DEFAULT_PALETTE,
        background: Literal["auto", "dark", "light"] = "auto",
        encoding: str | None = None,
    ) -> Theme:
        """Return the theme of a console: without colour for NO_COLOR, dumb terminals and pipes.

        Args:
            encoding: The encoding of the output, if it is not the console's.

        Raises:
            UsageError: There is no such palette; the error lists them.
        """
        _check(palette)
        depth: Depth | None
        match None if console.no_color else console.color_system:
            case None:
                depth = None
            case "truecolor":
                depth = "truecolor"
            case "256":
                depth = "256"
            case _:
                depth = "standard"
        on = _terminal_background() if background == "auto" else background
        return cls(depth, on, palette, Charset(encoding or console.encoding))

    @property
    def half_blocks(self) -> bool:
        """Whether two rows of a map can share a line, as half blocks in two colours."""
        return self.depth is not None and self.charset.has("▀▄")

    @classmethod
    def paper(cls, palette: str, background: Background) -> Theme:
        """Return the theme of a picture file.

        Raises:
            UsageError: There is no such palette.
        """
        _check(palette)
        return cls("truecolor", background, palette)

    def colours(self, *, signed: bool, n: int) -> list[Rgb]:
        """Return n colours from 0 to the largest weight; if signed, from negative to positive."""
        if not signed:
            return even_colours(PALETTES[self.palette], self.background, n)
        above, below = (arm_colours(arm, self.background, n // 2 + 1) for arm in self.arms())
        return [*reversed(below[1:]), *above]

    def ramp(self, *, signed: bool = False) -> Ramp:
        """Return inks for whole cells; for signed weights, two arms that meet at zero."""
        return _ramp(self, signed, flat=False)

    def pixels(self, *, signed: bool = False) -> Ramp:
        """Return inks of one flat colour each, for half blocks and for numbers in cells."""
        return _ramp(self, signed, flat=True)

    def arms(self) -> tuple[Arm, Arm]:
        """Return the arms for weights above and below zero."""
        palette = PALETTES[self.palette]
        if palette.above is None or palette.below is None:
            return SIGNED
        return palette.above, palette.below


@lru_cache(maxsize=16)
def _ramp(theme: Theme, signed: bool, *, flat: bool) -> Ramp:
    if theme.depth is None:
        return shades(signed=signed, ascii_only=not theme.charset.has(SHADES + STROKES))
    is_mixed = theme.depth == "standard" and not flat and theme.charset.has(SHADES)
    steps = interpolate if is_mixed else list
    if not signed:
        return Ramp(steps(solids(PALETTES[theme.palette], theme.depth, theme.background)), 0)
    above, below = (arm_solids(arm, theme.depth, theme.background) for arm in theme.arms())
    return join_arms(steps(above), steps(below))


def _check(palette: str) -> None:
    if palette not in PALETTES:
        raise UsageError(f"Unknown palette {palette!r}: use {', '.join(PALETTES)}.")


def _terminal_background() -> Background:
    """Read COLORFGBG, "foreground;background", which rxvt, Konsole and iTerm2 set."""
    last = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return "light" if last == "7" or last in {str(n) for n in range(9, 16)} else "dark"
