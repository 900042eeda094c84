"""Pictures of `qkv models`: the list, the description of a model, and bars of neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from qkv_cli.core.info import ModelInfo
from qkv_cli.figures import number
from qkv_cli.render.legend import label_line
from qkv_cli.render.terminal.columns import BOLD, DIM, INDENT, bar
from qkv_cli.render.text import aligned, label
from qkv_cli.render.theme import Theme

_LONGEST_BAR = 30
_LONGEST_WORD = 40


def model_table(models: Sequence[tuple[str, ModelInfo, int]]) -> Table:
    """Return the table of models, with their sizes on disk."""
    table = Table(box=None, pad_edge=False, header_style=DIM)
    for head in ("name", "layers x heads", "d_model", "vocabulary", "size"):
        table.add_column(head, justify="left" if head == "name" else "right", no_wrap=True)
    table.add_column("origin of the heads")
    for name, info, n_bytes in models:
        table.add_row(
            Text(label(name), BOLD),
            layers_by_heads(info),
            str(info.d_model),
            f"{info.d_vocab:,}",
            amount(n_bytes),
            Text(label_line(info.origin)),
        )
    return table


def layers_by_heads(info: ModelInfo) -> str:
    """Return layers x heads: 30 x 9, or 6 + 2 x 8 for an encoder-decoder."""
    stacks = list(info.stacks.values())
    if not stacks:
        return f"{info.n_layers} x {info.n_heads}"
    if len({stack.n_heads for stack in stacks}) == 1:
        return " + ".join(str(stack.n_layers) for stack in stacks) + f" x {stacks[0].n_heads}"
    return " + ".join(f"{stack.n_layers} x {stack.n_heads}" for stack in stacks)


def source_table(sources: Sequence[tuple[str, str, str, str]]) -> Table:
    """Return the table of models that can be downloaded."""
    table = Table(box=None, pad_edge=False, header_style=DIM)
    for head in ("name", "size", "licence", ""):
        table.add_column(head, justify="right" if head == "size" else "left", no_wrap=True)
    for name, size, licence, shape in sources:
        table.add_row(Text(name, BOLD), size, licence, shape)
    return table


def model_card(facts: Mapping[str, str]) -> Table:
    """Return the description of a model; empty facts are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for head, value in facts.items():
        lines = [label_line(line) for line in value.split("\n")]
        if value:
            table.add_row(Text(head, DIM), Text("\n".join(lines)))
    return table


def neighbor_bars(neighbors: Sequence[tuple[str, float]], theme: Theme) -> Group:
    """Return words with bars of their cosines."""
    words = [label(word, _LONGEST_WORD) for word, _ in neighbors]
    wide = max(map(cell_len, words), default=0)
    lines = []
    for word, (_, cosine) in zip(words, neighbors, strict=True):
        line = Text(f"{INDENT}{aligned(word, wide)}  {number(cosine):>4}  ")
        lines.append(line + bar(Decimal(str(round(cosine, 3))), Decimal(1), _LONGEST_BAR, theme))
    return Group(*lines)


def amount(n_bytes: int) -> str:
    """Return a number of bytes with a unit."""
    size = float(n_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def rounded_amount(n_bytes: int) -> str:
    """Return a number of bytes with a unit, of two significant digits: 130 MiB."""
    number, unit = amount(n_bytes).split()
    return f"{_two_digits(float(number))} {unit}"


def duration(seconds: float) -> str:
    """Return a time with a unit, of two significant digits: 40 ms, 1.5 seconds, 2 minutes."""
    if seconds < 0.995:
        return f"{_two_digits(1000 * seconds)} ms"
    units = (("second", 1.0), ("minute", 60.0), ("hour", 3600.0), ("day", 86400.0))
    name, size = next(unit for unit in units if seconds < 99.5 * unit[1] or unit is units[-1])
    number = _two_digits(seconds / size)
    return f"{number} {name}" + "s" * (number != "1")


def _two_digits(x: float) -> str:
    """Format a number with two significant digits and without an exponent."""
    rounded = float(f"{x:.1e}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"
