"""Any picture of the terminal as an HTML page, character by character."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from rich.console import RenderableType
from rich.style import Style

from qkv_cli.names import Background
from qkv_cli.render.colours import Rgb
from qkv_cli.render.paper.drawing import INKS, Inks
from qkv_cli.render.paper.text import colours, lines_of
from qkv_cli.render.web.page import filled, read_template
from qkv_cli.visible import visible


def still(
    pictures: Mapping[Background, Sequence[RenderableType]],
    columns: int,
    background: str,
    title: str,
) -> bytes:
    """Return pictures as an HTML file.

    Args:
        pictures: The pictures for a light and a dark background, of which the browser chooses.
        columns: The width of a terminal.
    """
    classes: dict[tuple[Rgb, Rgb | None, bool, bool], str] = {}
    body = []
    for theme, drawn in pictures.items():
        inks = INKS[theme]
        for picture in drawn:
            lines = [
                "".join(_span(segment.text, segment.style, inks, classes) for segment in line)
                for line in lines_of(picture, columns)
            ]
            body.append(f'<pre class="{theme}">' + "\n".join(lines) + "</pre>")
    rules = [f".{name} {{ {_rule(*look)} }}" for look, name in classes.items()]
    return filled(
        "still.html",
        title=html.escape(visible(title)),
        theme=background,
        body="\n".join(body),
        style=read_template("still.css") + "\n".join(rules) + "\n",
    )


def _span(
    text: str,
    style: Style | None,
    inks: Inks,
    classes: dict[tuple[Rgb, Rgb | None, bool, bool], str],
) -> str:
    style = style or Style.null()
    ink, ground = colours(style, inks)
    look = (ink, ground, bool(style.bold), bool(style.italic))
    safe = html.escape(text)
    if look == (inks.text, None, False, False) or not (text.strip() or ground):
        return safe
    name = classes.setdefault(look, f"s{len(classes)}")
    return f'<span class="{name}">{safe}</span>'


def _rule(ink: Rgb, ground: Rgb | None, bold: bool, italic: bool) -> str:
    declarations = ["color: #{:02x}{:02x}{:02x}".format(*ink)]
    declarations += (
        ["background: #{:02x}{:02x}{:02x}".format(*ground)] if ground is not None else []
    )
    declarations += ["font-weight: bold"] * bold + ["font-style: italic"] * italic
    return "; ".join(declarations)
