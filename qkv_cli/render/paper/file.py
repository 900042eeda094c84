"""Drawings as SVG, PDF or PNG files, with matplotlib."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from qkv_cli import __version__
from qkv_cli.errors import UsageError
from qkv_cli.render.colours import Rgb
from qkv_cli.render.paper.drawing import Box, Boxes, Drawing, Inks, Label, Pixels
from qkv_cli.render.paper.fonts import MONO, properties
from qkv_cli.visible import visible

DPI = 200  # of a PNG
LARGEST = 30_000  # maximum pixels per side
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "qkv",  # the same ids every time
    "pdf.fonttype": 42,  # fonts are embedded, text can be searched
}
_CREATOR = f"qkv {__version__}"


def encode_drawings(kind: str, drawings: Sequence[Drawing], title: str, inks: Inks) -> bytes:
    """Return the bytes of a file, the same every time; a PDF has a page per drawing.

    Raises:
        UsageError: Only a PDF can contain several drawings.
    """
    if len(drawings) != 1 and kind != "pdf":
        raise UsageError(f"A .{kind} file holds one picture, not {len(drawings)}: use .pdf.")
    buffer, title = io.BytesIO(), visible(title)
    with _quiet(), matplotlib.rc_context():
        matplotlib.rcParams.update(matplotlib.rcParamsDefault)  # independent of matplotlibrc
        matplotlib.rcParams.update(_SETTINGS)
        if kind == "pdf":
            metadata = {"Title": title, "Creator": _CREATOR, "Producer": None}
            with PdfPages(buffer, metadata=metadata | {"CreationDate": None}) as pages:
                for drawing in drawings:
                    pages.savefig(_figure(drawing, inks))
            return buffer.getvalue()
        [figure] = (_figure(drawing, inks) for drawing in drawings)
        if kind == "svg":
            metadata = {"Title": title, "Creator": _CREATOR, "Date": None}
            figure.savefig(buffer, format="svg", metadata=metadata)
            return _tidied(buffer.getvalue().decode()).encode()
        dpi = min(DPI, LARGEST / max(figure.get_size_inches()))
        metadata = {"Title": title, "Software": _CREATOR}
        figure.savefig(buffer, format="png", dpi=dpi, metadata=metadata)
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings about characters that no font has; they are drawn as boxes."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _tidied(svg: str) -> str:
    """Adapt an SVG: a role for screen readers, fallback fonts, and no unused elements."""
    svg = re.sub(r"<svg ", '<svg role="img" ', svg, count=1)
    svg = re.sub(r'<text style="[^"]*"', lambda match: _with_others(match[0]), svg)
    svg = re.sub(r'(<text [^>]*) transform="rotate\(-0 [^"]*"', r"\1", svg)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def _with_others(tag: str) -> str:
    """Add fallback fonts to the style of a text, for machines without DejaVu."""
    tag = tag.replace("text-anchor: start; ", "")
    fallback_fonts = "Menlo, Consolas, monospace" if f"'{MONO}'" in tag else "Verdana, sans-serif"
    return re.sub(r"(font-family: [^;\"]*)", rf"\1, {fallback_fonts}", tag)


def _figure(drawing: Drawing, inks: Inks) -> Figure:
    figure = Figure((drawing.width / 72, drawing.height / 72), dpi=72, facecolor=_hex(inks.ground))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    for order, item in enumerate(drawing.items):
        match item:
            case Boxes(boxes, ink):
                patch = PathPatch(_path(boxes), facecolor=_hex(ink), linewidth=0, zorder=order)
                axes.add_patch(patch)
            case Pixels((x, y, width, height), colours):
                axes.imshow(
                    colours,
                    extent=(x, x + width, y + height, y),
                    interpolation="none",
                    aspect="auto",
                    zorder=order,
                )
            case Label():
                axes.text(
                    item.x,
                    item.y,
                    item.text,
                    color=_hex(item.ink),
                    fontproperties=properties(item.text, item.font),
                    ha=item.anchor,
                    va="baseline",
                    rotation=item.angle,
                    rotation_mode="anchor",
                    parse_math=False,
                    zorder=order,
                )
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    return figure


def _path(boxes: Sequence[Box]) -> Path:
    """Return all boxes as one path."""
    corners = [
        corner
        for x, y, w, h in boxes
        for corner in ((x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y))
    ]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(boxes)
    return Path(corners, codes)


def _hex(ink: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*ink)
