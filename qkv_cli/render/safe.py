"""A picture of the terminal in which no text acts, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from qkv_cli.core.visible import visible


@dataclass(frozen=True, slots=True)
class Safe:
    """The same picture, its text made visible segment by segment."""

    picture: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.picture, options):
            if segment.control is None:
                yield Segment(visible(segment.text, keep="\n"), segment.style)
