"""The table of `qkv compare --nearest`: which heads are most like a given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isnan

from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from qkv_cli.analysis.nearest import Near
from qkv_cli.render.columns import bar
from qkv_cli.render.compare import side
from qkv_cli.render.flow import flowing
from qkv_cli.render.header import label_line
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import number
from qkv_cli.views import HeadMaps

_NAME, _DIM = Style(bold=True), Style(dim=True)
BAR = 24


@dataclass(frozen=True, slots=True)
class NearestTable:
    """A Rich renderable that fits the width it is given."""

    own: HeadMaps  # of the one map that others were compared with
    others: HeadMaps  # what these are of
    near: Sequence[Near]
    theme: Theme

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield from side("nearest to", self.own, width)
        said = [f"among the heads of {label_line(self.others.model.name)}"]
        if (self.own.text, self.own.source) != (self.others.text, self.others.source):
            said.append(f"on: {label_line(self.others.text)}")
        yield from flowing(said, width, _DIM)
        yield Text()
        if not self.near:
            yield Text("no other head to compare with")
            return
        name = max(len(n.map.name) for n in self.near)
        title = f"{'':{name}}  bits  cosine  Pearson"
        yield Text(title, _DIM, no_wrap=True, overflow="crop")
        for n in self.near:
            line = Text(no_wrap=True, overflow="crop").append(n.map.name.ljust(name), _NAME)
            line.append(
                f"  {_told(n.divergence):>4}  {_told(n.cosine):>6}  {_told(n.pearson):>7}  "
            )
            if not isnan(n.divergence):
                room = min(BAR, width - line.cell_len)
                bits = Decimal(str(round(n.divergence, 6)))
                line.append_text(bar(bits, Decimal(1), room, self.theme))
            yield line
        yield Text()
        yield from flowing(["bits: mean Jensen-Shannon divergence, 0 to 1"], width, _DIM)


def _told(figure: float) -> str:
    return "-" if isnan(figure) else number(figure)
