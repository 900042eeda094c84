"""What the steps of an explanation draw from: names, printed numbers, and the room there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.text import Text

from qkv_cli.analysis.explain import Explanation
from qkv_cli.render import figures
from qkv_cli.render.theme import Theme
from qkv_cli.render.words import told_apart
from qkv_cli.views import HeadMaps

LONGEST_WORD = 14


@dataclass(frozen=True, slots=True)
class Step:
    """A formula, its numbers, and what it means."""

    title: str
    formula: str
    lines: Sequence[Text]
    meaning: str


@dataclass(frozen=True)
class Lesson:
    maps: HeadMaps
    x: Explanation
    theme: Theme
    width: int
    products: int  # at most so many lines of products
    words: int  # and of keys

    @property
    def name(self) -> str:
        return self.maps.maps[0].name  # L0H3

    @cached_property
    def b(self) -> str:
        """The word that looks."""
        return told_apart(self.maps.queries, LONGEST_WORD)[self.x.query]

    @cached_property
    def a(self) -> str:
        """The word that is looked at."""
        return self.key_names[self.x.key]

    @cached_property
    def key_names(self) -> list[str]:
        return told_apart(self.maps.keys, LONGEST_WORD)

    @property
    def content(self) -> str:
        """How the dot product becomes the first part of a score."""
        return "Q · K / √d" if self.x.divides_by_root else "scale × Q · K"

    @cached_property
    def q(self) -> figures.Projected:
        return figures.projected(self.x.q)

    @cached_property
    def k(self) -> figures.Projected:
        return figures.projected(self.x.k)

    @cached_property
    def v(self) -> figures.Projected:
        return figures.projected(self.x.v)

    @cached_property
    def match(self) -> figures.Match:
        return figures.match(self.x, self.q.result, self.k.result, self.products)

    @cached_property
    def row(self) -> figures.RowOfScores:
        return figures.row_of_scores(self.x, self.match, self.v.result, self.words)

    @cached_property
    def v_order(self) -> list[int]:
        """Dimensions of the value, the largest first."""
        return sorted(range(self.x.d_head), key=lambda d: -abs(self.v.result[d]))
