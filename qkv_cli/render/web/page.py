"""Head maps as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.style import Style

from qkv_cli import __version__
from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.names import Background
from qkv_cli.render.colours import Rgb
from qkv_cli.render.paper.drawing import INKS, Inks
from qkv_cli.render.paper.text import colours, lines_of
from qkv_cli.render.plate import Maps, Plate
from qkv_cli.render.text import spelled, with_indices
from qkv_cli.render.theme import Theme
from qkv_cli.visible import visible


def fill_template(template: str, *, style: str, script: str = "", **parts: str) -> bytes:
    """Fill a template, and add a content security policy that allows only its style and script."""
    allowed = {"style-src": style, "script-src": script}
    policy = "; ".join(
        [
            "default-src 'none'",
            *(f"{directive} 'sha256-{_hash(code)}'" for directive, code in allowed.items() if code),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    parts |= {"style": style, "script": script, "policy": policy, "generator": f"qkv {__version__}"}
    document = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read_template(template))
    return document.encode()


def _hash(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def read_template(name: str) -> str:
    """Read a template file of this package."""
    return (files(__package__) / name).read_text("utf-8")


MASKED = 255  # the byte of a masked cell
STEPS = 254  # the largest byte of a weight
COLOURS = 127
LONGEST_WORD = 14  # characters of the first and last token of a block
SCRIPTS = ("weights.js", "words.js", "map.js", "heads.js", "sentences.js", "start.js")


def map_page(plate: Plate, themes: Mapping[Background, Theme], background: str) -> bytes:
    """Return the maps of a picture as an HTML file.

    Args:
        themes: The themes of a light and of a dark background.
        background: light, dark, or auto for the reader's own setting.
    """
    parts = [part for part in plate.parts if isinstance(part, Maps)]
    side, at = plate.pinned or (None, None)
    first = parts[0]
    maps, steps = _maps(parts)
    data = {
        "model": plate.name,
        "about": " · ".join(plate.statements),
        "notes": _notes(parts),
        "queries": _rows(first.queries, first.blocks[0]),
        "keys": _rows(first.keys, first.blocks[1]),
        "pooled": first.blocks != (1, 1),
        "same": list(first.queries) == list(first.keys),
        "maps": maps,
        "words": {
            "does": first.quantity.verb,
            "done": first.quantity.passive,
            "link": first.quantity.link,
        },
        "masked": MASKED,
        "colours": {
            name: {"plain": _codes(theme, signed=False), "signed": _codes(theme, signed=True)}
            for name, theme in themes.items()
        },
        "theme": background,
        "start": {"side": side, "at": at, "pinned": side is not None},
    }
    return fill_template(
        "page.html",
        title=html.escape(visible(plate.title)),
        theme=background,
        data=_script_safe(_visible(data)),
        weights=base64.b64encode(zlib.compress(steps, 6)).decode(),
        style=read_template("page.css"),
        script="\n".join(map(read_template, SCRIPTS)),
    )


def _maps(parts: Sequence[Maps]) -> tuple[list[dict[str, Any]], bytes]:
    """Return the description of each map, and the quantised weights of all maps."""
    panels, steps = [], []
    for part in parts:
        for panel in part.panels:
            levels, zero, step = in_steps(panel.weights, signed=part.signed)
            steps.append(levels.tobytes())
            panels.append(
                {
                    "name": panel.name,
                    "layer": panel.layer,
                    "head": panel.head,
                    "signs": panel.signs,
                    "signed": part.signed,
                    "zero": zero,
                    "step": step,
                    "top": part.top,
                }
            )
    return panels, b"".join(steps)


def in_steps(weights: Array, *, signed: bool) -> tuple[NDArray[np.uint8], int, float]:
    """Quantise weights to bytes; also return the byte for 0 and the size of a step.

    A weight is (byte - zero) * step, with an error of at most half a step.
    """
    zero = STEPS // 2 if signed else 0
    amount = float(np.nanmax(np.abs(weights), initial=0.0)) if weights.size else 0.0
    step = amount / (STEPS - zero) or 1.0
    levels = np.rint(np.nan_to_num(weights) / step) + zero
    return np.where(np.isnan(weights), MASKED, levels).astype(np.uint8), zero, step


def _visible(data: Any) -> Any:
    """Return a value with all its strings escaped."""
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, list):
        return [_visible(value) for value in data]
    return {k: _visible(v) for k, v in data.items()} if isinstance(data, dict) else data


def _script_safe(data: object) -> str:
    """Return ASCII JSON that cannot end the script element around it."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _rows(tokens: Sequence[Token], block: int) -> list[dict[str, Any]]:
    """Describe the tokens of each row or column, or of each block of them."""
    if block > 1:
        starts = range(0, len(tokens), block)
        return [_block(tokens[first : first + block]) for first in starts]
    return [
        {"text": spelled(t), "told": distinct_name}
        | ({"special": True} if t.special else {})
        | ({"second": True} if t.segment else {})
        for t, distinct_name in zip(
            tokens, with_indices(tokens, list(map(spelled, tokens))), strict=True
        )
    ]


def _block(tokens: Sequence[Token]) -> dict[str, Any]:
    first, last = tokens[0], tokens[-1]
    if len(tokens) == 1:
        name = f"{first.i} ({spelled(first, LONGEST_WORD)})"
    else:
        ends = f"{spelled(first, LONGEST_WORD)} … {spelled(last, LONGEST_WORD)}"
        name = f"{first.i}–{last.i} ({ends})"
    second = {"second": True} if last.segment else {}
    return {"text": " ".join(map(spelled, tokens)), "told": name} | second


def _codes(theme: Theme, *, signed: bool) -> list[str]:
    return ["{:02x}{:02x}{:02x}".format(*rgb) for rgb in theme.colours(signed=signed, n=COLOURS)]


def _notes(parts: Sequence[Maps]) -> str:
    """Return the notes of all parts and the precision of the numbers, as sentences."""
    steps = STEPS // 2 if any(part.signed for part in parts) else STEPS
    notes = [note for part in parts for note in part.notes]
    notes.append(f"numbers are stored in steps of 1/{steps} of each map's maximum")
    return " ".join(f"{note[:1].upper()}{note[1:]}." for note in dict.fromkeys(notes))


def table_page(
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
    return fill_template(
        "table.html",
        title=html.escape(visible(title)),
        theme=background,
        body="\n".join(body),
        style=read_template("table.css") + "\n".join(rules) + "\n",
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
