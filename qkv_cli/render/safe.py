"""A picture as a terminal may show it: no text acts, every character can be written."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from qkv_cli.core.visible import visible
from qkv_cli.render.charset import Charset


@dataclass(frozen=True, slots=True)
class Safe:
    """The same picture, its text made visible, with stand-ins for what `charset` lacks."""

    picture: RenderableType
    charset: Charset

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        segments = [s for s in console.render(self.picture, options) if s.control is None]
        texts = self.charset.written(visible(s.text, keep="\n") for s in segments)
        yield from (Segment(text, s.style) for text, s in zip(texts, segments, strict=True))
