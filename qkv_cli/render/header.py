"""Which model this is, how its heads came to be, and what was asked of it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.style import Style
from rich.text import Text

from qkv_cli.render.cells import label
from qkv_cli.views import HeadMaps

_NAME, _DIM = Style(bold=True), Style(dim=True)
_LOUD = Style(bold=True, reverse=True)
_SOURCES = {
    "hard": "hard: all the weight to the best key",
    "linear": "linear: Q Kᵀ / √d, no softmax",
}


def header(maps: HeadMaps) -> Iterator[Text]:
    """The lines over the maps; texts are shown without anything in them acting."""
    model = maps.model
    line = Text(label_line(model.name), style=_NAME, overflow="fold")
    untrained = "untrained" in model.origin
    if untrained:
        line.append("  ").append(" UNTRAINED ", _LOUD)
    said = [
        label_line(model.type).replace("-", " "),
        f"{_count(model.n_layers, 'layer')} x {_count(model.n_heads, 'head')}",
        f"heads {label_line(model.origin)}",
    ]
    if maps.weighting != "softmax":
        said.append(_SOURCES[maps.weighting])
    if maps.causal:
        said.append("causal: a word sees only what stands before it")
    yield line.append("  " + " · ".join(said), Style(bold=False, dim=not untrained))
    if maps.source is not None:
        yield _text("queries", maps.text)
        yield _text("keys and values", maps.source)


def label_line(text: str) -> str:
    """A whole text on one line: words stay apart, and nothing in them acts."""
    return " ".join(label(part) for part in text.split())


def _text(what: str, text: str) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    return line.append(f"{what}: ", _DIM).append(label_line(text))


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + "s" * (n != 1)
