"""`qkv render`: a written file, drawn or written again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qkv_cli.commands import options
from qkv_cli.commands.output import Look, Target
from qkv_cli.commands.texts import read_bytes
from qkv_cli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkv_cli.views import HeadMaps


def render(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="A .json, .jsonl or .npz that qkv wrote, or '-'."),
    ],
    layer: options.LayerOption = None,
    head: options.HeadOption = None,
    mean: options.MeanOption = False,
    hide: options.HideSpecialOption = False,
    words: options.WordsOption = False,
    window: options.WindowOption = None,
    values: options.ValuesOption = False,
    links: options.LinksOption = 5,
    as_json: options.JsonOption = False,
    form: options.FormatOption = None,
    include: options.IncludeOption = None,
    output: options.OutputOption = None,
    color: options.ColorOption = "auto",
    palette: options.PaletteOption = "viridis",
    background: options.BackgroundOption = "auto",
    width: options.WidthOption = None,
) -> None:
    """Draw what `qkv attend` wrote, without the model; or turn it into another format.

    Example: qkv attend "the river bank" --json | qkv render - --head L0H3

    Example: qkv render bank.json -o bank.csv
    """
    target = Target.of(output, form, as_json=as_json, include=include or ())
    look = Look(color, palette, background, width)

    from qkv_cli.commands.maps import Reading
    from qkv_cli.export.attention import read
    from qkv_cli.export.selection import choose
    from qkv_cli.render.attention import attention

    reading = Reading(hide=hide, words=words, window=window)

    def results() -> Iterator[HeadMaps]:
        for path in files:
            data = read_bytes(path)
            try:
                found = read(data)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
            for maps in found:
                chosen = choose(maps, layer or (), head or (), mean=mean)
                yield reading.of(chosen)

    target.send_maps(
        results(), look, lambda maps, theme: attention(maps, theme, values=values, links=links)
    )
