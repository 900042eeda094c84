"""Drawing of documents that any command wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qkv_cli.render.picture import Draw


def redraw(document: object, *, numbers: bool, links: int) -> list[Draw] | None:
    """Return what draws a document without head maps; None for other documents.

    Raises:
        InputError: The document does not match its schema.
    """
    if not isinstance(document, dict):
        return None
    drawers = {
        "qkv.compare/1": lambda: _compare(document, numbers, links),
        "qkv.explain/1": lambda: _explain(document),
        "qkv.focus/1": lambda: _focus(document),
        "qkv.heads/1": lambda: _heads(document),
        "qkv.nearest/1": lambda: _nearest(document),
        "qkv.next/1": lambda: _next(document),
    }
    schema = document.get("schema")
    return drawers[schema]() if isinstance(schema, str) and schema in drawers else None


def own_options(document: Any) -> tuple[str, ...]:
    """Return the options of head maps that also apply to a document drawn by `redraw`."""
    return ("--numbers",) if document["schema"] == "qkv.compare/1" else ()


def _compare(document: Any, numbers: bool, links: int) -> list[Draw]:
    from qkv_cli.export.compare import read_compare
    from qkv_cli.render.terminal.compare import pictures

    return [*pictures(read_compare(document), numbers=numbers, links=links)]


def _explain(document: Any) -> list[Draw]:
    from qkv_cli.export.explain import read_explain
    from qkv_cli.render.terminal.explain import ExplainPage

    maps, x = read_explain(document)
    return [lambda theme: ExplainPage(maps, x, theme)]


def _focus(document: Any) -> list[Draw]:
    from qkv_cli.export.focus import read_focus
    from qkv_cli.render.terminal.focus import FocusPicture

    focused, top = read_focus(document)
    return [lambda theme: FocusPicture(focused, theme, top)]


def _heads(document: Any) -> list[Draw]:
    from qkv_cli.export.heads import read_heads
    from qkv_cli.render.terminal.heads import HeadsTable

    about, extent, heads = read_heads(document)
    return [lambda theme: HeadsTable(about=about, extent=extent, heads=heads, theme=theme)]


def _nearest(document: Any) -> list[Draw]:
    from qkv_cli.export.compare import read_nearest
    from qkv_cli.render.terminal.compare import NearestTable

    reference, candidates, nearest = read_nearest(document)
    return [lambda theme: NearestTable(own=reference, others=candidates, near=nearest, theme=theme)]


def _next(document: Any) -> list[Draw]:
    from qkv_cli.export.next import read_next
    from qkv_cli.render.terminal.next import NextPicture

    prediction = read_next(document)
    return [lambda theme: NextPicture(prediction, theme)]
