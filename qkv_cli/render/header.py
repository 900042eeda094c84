"""Which model this is, how its heads came to be, and what was asked of it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.style import Style
from rich.text import Text

from qkv_cli.render.cells import label
from qkv_cli.render.flow import flowing
from qkv_cli.render.quantity import QUANTITIES
from qkv_cli.views import HeadMaps

_NAME, _DIM = Style(bold=True), Style(dim=True)
_LOUD = Style(bold=True, reverse=True)
_WEIGHTINGS = {
    "hard": "hard: all weight on the best key",
    "linear": "linear: Q Kᵀ / √d, no softmax",
}


def header(maps: HeadMaps, width: int) -> Iterator[Text]:
    """The lines over the maps; texts are shown without anything in them acting."""
    model = maps.model
    first = Text.assemble((label_line(model.name), _NAME), "  ")
    untrained = "untrained" in model.origin
    if untrained:
        first = Text.assemble(first, (" UNTRAINED ", _LOUD), "  ")
    yield from flowing(about(maps), width, Style.null() if untrained else _DIM, first)
    if maps.pair is not None:
        yield text_line("first text", maps.text, width)
        yield text_line("second text", maps.pair, width)
    if maps.source is not None:
        yield text_line("queries", maps.text, width)
        yield text_line("keys and values", maps.source, width)


def about(maps: HeadMaps) -> list[str]:
    """What there is to say of the model, its heads, and how it read."""
    model = maps.model
    said = [
        label_line(model.type).replace("-", " "),
        f"{_count(model.n_layers, 'layer')} x {_count(model.n_heads, 'head')}",
        f"heads {label_line(model.origin)}",
    ]
    if maps.weighting != "softmax":
        said.append(_WEIGHTINGS[maps.weighting])
    if maps.causal:
        said.append("causal")
    if maps.ablated:
        said.append(f"ablated: {label_line(maps.ablated)}")
    if shown := QUANTITIES[maps.shown].header:
        said.append(shown if maps.weighting == "softmax" else shown.replace("softmax", "weighting"))
    return said


def label_line(text: str) -> str:
    """A whole text on one line: words stay apart, and nothing in them acts."""
    return " ".join(label(part) for part in text.split())


def text_line(what: str, text: str, width: int) -> Text:
    """What a text is for, and the text, cut where the line ends."""
    line = Text(f"{what}: ", _DIM, no_wrap=True).append(label_line(text), Style(dim=False))
    line.truncate(width, overflow="ellipsis")
    return line


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + "s" * (n != 1)
