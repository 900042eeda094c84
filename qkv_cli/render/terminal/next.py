"""The picture of `qkv next`: the most likely tokens as bars, before and after an ablation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from qkv_cli.analysis.next import Next
from qkv_cli.core.tokens import Token
from qkv_cli.figures import number, probability
from qkv_cli.render.legend import flowing, header, text_line
from qkv_cli.render.terminal.columns import bar
from qkv_cli.render.text import aligned, label
from qkv_cli.render.theme import Theme

_NAME, _DIM = Style(bold=True), Style(dim=True)
LONGEST_WORD = 16
BAR = 32  # columns at most
GAP = 2
NUMBER = 5  # columns of a probability


@dataclass(frozen=True, slots=True)
class NextPicture:
    """A Rich renderable that fits the width it is given."""

    next: Next
    theme: Theme

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield from header(self.next.about, width)
        yield text_line("text", self.next.about.text, width)
        yield Text()
        yield from self._rows(width)
        yield Text()
        yield from flowing(self._notes(), width, _DIM)

    def _rows(self, width: int) -> Iterator[Text]:
        odds = self.next.odds
        names = [token_name(token) for token in self.next.tokens]
        rest_name = f"{odds.n_tokens - len(odds.ids):,} others"
        longest = min(LONGEST_WORD, max(1, width // 3))
        names = [label(name, longest) for name in names]
        word = max(map(cell_len, [*names, rest_name[:longest]]))
        ranks = [[f"#{rank:,}" for rank in row] for row in odds.rank.tolist()]
        place = max(len(rank) for row in ranks for rank in row)
        n_cells = NUMBER + 1 + place  # a number, its rank
        n = len(odds.probability)
        room = max(0, min(BAR, (width - word) // n - GAP - n_cells - 1))
        if n == 2:
            title = Text(" " * word, _DIM, no_wrap=True, overflow="crop")
            for reading in ("before", "after"):
                title.append(" " * GAP + reading.ljust(n_cells + 1 + room))
            title.rstrip()
            yield title
        largest = Decimal(str(round(float(odds.probability.max()), 6)))
        for i, name in enumerate(names):
            line = Text(aligned(name, word), no_wrap=True, overflow="crop")
            for p, rank in zip(odds.probability[:, i], ranks, strict=True):
                bar_text = bar(Decimal(str(round(float(p), 6))), largest, room, self.theme)
                line.append(f"{' ' * GAP}{probability(p):>{NUMBER}} ").append(
                    f"{rank[i]:>{place}} ", _DIM
                )
                line.append_text(bar_text).append(" " * (room - bar_text.cell_len))
            line.rstrip()
            yield line
        rest_line = aligned(rest_name[:word], word)
        for p in odds.rest:
            rest_line += f"{' ' * GAP}{probability(p):>{NUMBER}}".ljust(GAP + n_cells + 1 + room)
        yield Text(rest_line.rstrip(), _DIM, no_wrap=True, overflow="crop")

    def _notes(self) -> list[str]:
        odds = self.next.odds
        statements = [f"probability of the next token, and its rank among {odds.n_tokens:,}"]
        if odds.divergence is not None:
            statements.insert(0, f"KL(before || after) = {number(odds.divergence)} bits")
        if any(" " in token.text for token in self.next.tokens):
            statements.append("'·' stands for a space")
        if self.next.about.queries[-1].special:
            statements.append(f"the last token read is {label(self.next.about.queries[-1].token)}")
        return statements


def token_name(token: Token) -> str:
    """Return a token's text; its name if it has no text or is part of a character; else its id."""
    text = token.text if "\ufffd" not in token.text else ""
    return text or token.token or f"id:{token.id}"
