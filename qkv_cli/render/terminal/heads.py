"""The table of `qkv heads`: a row per head with its statistics and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from qkv_cli.analysis.labels import LEAST_EFFECT, P_LEVEL
from qkv_cli.analysis.study import Extent, HeadStatistics
from qkv_cli.figures import cell_number, count
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.render.legend import flowing, header, label_line
from qkv_cli.render.text import aligned
from qkv_cli.render.theme import Theme

_NAME, _DIM = Style(bold=True), Style(dim=True)
LABEL = 16  # columns of a label and its effect size


@dataclass(frozen=True, slots=True)
class Column:
    """A column of statistics; if `shaded`, it has numbers from 0 to 1 and is coloured by them."""

    name: str  # as in JSON
    title: str
    about: str
    shaded: bool = True


COLUMNS = (
    Column("entropy", "bits", "bits: entropy", shaded=False),
    Column("entropy_share", "max", "max: entropy as a share of its maximum"),
    Column("distance", "dist", "dist: distance from query to key in tokens", shaded=False),
    Column("self", "self", "self: weight on the token itself"),
    Column("previous", "prev", "prev: on the previous token"),
    Column("next", "next", "next: on the next token"),
    Column("first", "1st", "1st: on the first token"),
    Column("separators", "sep", "sep: on other special tokens"),
    Column("punctuation", "punc", "punc: on punctuation"),
    Column("duplicate", "dup", "dup: on other copies of the token, in a repeated shuffled text"),
    Column("induction", "ind", "ind: induction, on the token that followed another copy there"),
    Column(
        "position", "pos", "pos: share of the pattern that stays in place when words are shuffled"
    ),
    Column("content", "cont", "cont: share of the pattern that moves with the words"),
)


@dataclass(frozen=True, slots=True)
class HeadsTable:
    """A Rich renderable that fits the width it is given."""

    about: HeadMaps  # the model and the options of the reading
    extent: Extent
    heads: Sequence[HeadStatistics]
    theme: Theme

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        measured = [c for c in COLUMNS if any(h.figure(c.name) is not None for h in self.heads)]
        name = max(len(h.name) for h in self.heads)
        columns = self._fitting(measured, width - name - LABEL)
        yield from header(replace(self.about, source=None), width)
        yield from flowing(self._read(), width, _DIM)
        yield Text()
        yield self._titles(name, columns)
        for h in self.heads:
            yield self._line(h, name, columns, width)
        yield Text()
        yield from flowing(self._notes(measured, columns), width, _DIM)

    def _read(self) -> Iterator[str]:
        yield count(self.extent.n_texts, "text")
        yield count(self.extent.n_tokens, "token")
        if self.extent.n_shuffled:
            yield count(self.extent.n_shuffled, "shuffled reading")
        if (block := self.heads[0].block) != "self":
            yield f"block {block}"
        if self.about.source is not None:
            yield f"keys and values from: {label_line(self.about.source)}"

    def _line(self, h: HeadStatistics, name: int, columns: Sequence[Column], width: int) -> Text:
        line = Text(no_wrap=True, overflow="crop").append(h.name.ljust(name), _NAME)
        for column in columns:
            line.append(" ")
            cell = aligned(_figure(h, column), self._columns(column), right=True)
            line.append(cell, self._ink(h, column))
        return line.append("  " + _labels(h, width - line.cell_len - 2))

    def _columns(self, column: Column) -> int:
        """Return the width of each column; numbers may be wider than the title (-.05)."""
        return max(len(column.title), *(len(_figure(h, column)) for h in self.heads))

    def _fitting(self, columns: Sequence[Column], room: int) -> Sequence[Column]:
        """Return as many columns as fit, from the left."""
        for n, column in enumerate(columns):
            room -= self._columns(column) + 1
            if room < 0:
                return columns[:n]
        return columns

    def _titles(self, name: int, columns: Sequence[Column]) -> Text:
        titles = "".join(" " + c.title.rjust(self._columns(c)) for c in columns)
        return Text(" " * name + titles, _DIM, no_wrap=True, overflow="crop")

    def _ink(self, h: HeadStatistics, column: Column) -> Style:
        amount = h.figure(column.name)
        if self.theme.depth is None or not column.shaded or amount is None:
            return Style.null()
        inks = self.theme.pixels().inks
        return inks[round(min(max(amount, 0.0), 1.0) * (len(inks) - 1))].number

    def _notes(self, measured: Sequence[Column], columns: Sequence[Column]) -> Iterator[str]:
        yield from (column.about for column in columns)
        if missing := [column.title for column in measured[len(columns) :]]:
            yield f"no room for the column{'s' * (len(missing) > 1)} {', '.join(missing)}"
        if self.extent.n_shuffled:
            p, effect = cell_number(P_LEVEL), cell_number(LEAST_EFFECT)
            yield (
                f"labels: above chance in shuffled readings (p < {p}, corrected for all heads); "
                f"the number is the effect size, {effect} or more"
            )


def _figure(h: HeadStatistics, column: Column) -> str:
    amount = h.figure(column.name)
    if amount is None:
        return "-"
    return cell_number(amount)


def _labels(h: HeadStatistics, room: int) -> str:
    """Return as many labels as fit, at least one."""
    parts = [f"{kind} {cell_number(h.evidence[kind].effect)}" for kind in h.labels]
    while len(parts) > 1 and cell_len(", ".join(parts)) > room:
        parts.pop()
    return ", ".join(parts)
