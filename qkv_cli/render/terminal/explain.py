"""The page of `qkv explain`: one pair of words through one head, step by step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.style import Style
from rich.text import Text

from qkv_cli.analysis.explain import Explanation
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.render.legend import label_line
from qkv_cli.render.terminal import explain_steps as steps
from qkv_cli.render.terminal.columns import BOLD, DIM, INDENT
from qkv_cli.render.terminal.explain_steps import Lesson, Step
from qkv_cli.render.text import label, word
from qkv_cli.render.theme import Theme

MAX_PROSE = 96
CONTEXT = 12  # words on each side, in a long text
_LOUD = Style(bold=True, reverse=True)


@dataclass(frozen=True)
class ExplainPage:
    """The page of an explanation; `products` and `words` limit the lines of the two lists."""

    maps: HeadMaps  # the map of the head
    x: Explanation
    theme: Theme
    products: int = 6
    words: int = 12

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        prose = min(width, MAX_PROSE) - 1
        yield from (Padding(line, (0, width - prose - 1, 0, 0)) for line in self._head())
        lesson = Lesson(
            maps=self.maps,
            x=self.x,
            theme=self.theme,
            width=width,
            products=self.products,
            words=self.words,
        )
        for number, step in enumerate(steps.all_steps(lesson), 1):
            yield Text()
            yield from self._step(number, step, width, prose)

    @cached_property
    def _formula(self) -> Style:
        if self.theme.depth is None:
            return Style.null()
        return Style(color="cyan" if self.theme.background == "dark" else "blue")

    def _step(self, number: int, step: Step, width: int, prose: int) -> Iterator[Text | Padding]:
        yield Text(f"{number}".ljust(len(INDENT)) + step.title, BOLD)
        sides = (0, width - prose - 1, 0, len(INDENT))
        yield Padding(Text(step.formula, self._formula), sides)
        for line in step.lines:
            yield from _folded(line, width)
        yield Padding(Text(step.meaning, Style(italic=True)), sides)

    def _head(self) -> Iterator[Text]:
        queries, keys = self.maps.queries, self.maps.keys
        info = self.maps.model
        q, k = word(queries[self.x.query]), word(keys[self.x.key])
        yield Text(f"{q} → {k} in head {self.maps.maps[0].name}", BOLD)
        line = Text(label_line(info.name), DIM)
        if "untrained" in info.origin:
            line.append("  ").append(" UNTRAINED ", _LOUD)
        line.append(f" · heads {label_line(info.origin)}")
        if self.x.weighting != "softmax":
            line.append(f" · {self.x.weighting} weighting")
        if self.maps.causal:
            line.append(" · causal")
        yield line
        if self.x.between_texts:
            yield _marked("text:   ", queries, {self.x.query: "B"})
            yield _marked("source: ", keys, {self.x.key: "A"})
        else:
            same = self.x.query == self.x.key
            marks = {self.x.key: "A", self.x.query: "A and B" if same else "B"}
            yield _marked("", queries, marks)
        yield Text(
            "B is the query (the word that attends), A the key (the word attended to). Totals are "
            "sums of the printed numbers, so the last digit may differ from --json.",
            DIM,
        )
        yield from (Text(label_line(note), DIM) for note in self.maps.notes)


def _folded(line: Text, width: int) -> list[Text]:
    """Split a line that is too long, keeping columns of numbers aligned."""
    if line.cell_len <= width:
        return [line]
    parts: list[Text] = []
    begin = end = len(line.plain.rstrip())
    for run in reversed([*re.finditer(r"\S+", line.plain)]):
        if begin < end and cell_len(line.plain[run.start() : end]) > width:
            parts.append(_at_the_right(line[begin:end], width))
            end = run.end()
        begin = run.start()
    fits = cell_len(line.plain[:end]) <= width  # including its indent
    parts.append(line[:end] if fits else _at_the_right(line[begin:end], width))
    return parts[::-1]


def _at_the_right(text: Text, width: int) -> Text:
    text.pad_left(max(0, width - text.cell_len))
    return text


def _marked(title: str, tokens: Sequence[Token], marks: dict[int, str]) -> Text:
    """Return a text with the two words marked; of a long text, the words around them."""
    line = Text(title, DIM)
    close = [i for i in range(len(tokens)) if any(abs(i - m) <= CONTEXT for m in marks)]
    last = -1
    for i in close:
        if i > last + 1:
            line.append("… ", DIM)
        name = label(tokens[i].name)
        if i in marks:
            line.append(f"[{marks[i]} {name}]", Style(bold=True, dim=False)).append(" ")
        else:
            line.append(f"{name} ")
        last = i
    if last < len(tokens) - 1:
        line.append("…", DIM)
    return line
