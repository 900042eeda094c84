"""`qkv render`: draw or convert a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import Target
from qkv_cli.cli.texts import read_bytes, source_name
from qkv_cli.errors import CheckpointError, InputError, UsageError
from qkv_cli.names import DATA_FORMATS, DEFAULT_PALETTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from qkv_cli.cli.output import Draw
    from qkv_cli.core.arrays import Stored
    from qkv_cli.maps.head_maps import HeadMaps
    from qkv_cli.render.theme import Theme


def render(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="A .json, .jsonl or .npz file that qkv wrote; '-' is standard input.",
        ),
    ],
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A JSON list of tokens, for attention computed elsewhere: a .npy, .npz or "
            r".safetensors file of shape \[queries, keys], \[heads, ...], \[layers, heads, ...] or "
            r"\[layers, 1, heads, ...].",
        ),
    ] = None,
    array: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which array to draw, if the file has several."),
    ] = None,
    layer: options.FileLayersOption = None,
    head: options.HeadOption = None,
    mean: options.MeanOption = False,
    hide_special: options.HideSpecialOption = False,
    merge_words: options.WordsOption = False,
    window: options.WindowOption = None,
    show: options.ShowOption = None,
    grid: Annotated[
        bool,
        typer.Option(
            "--grid",
            help="Draw thumbnails like `qkv grid`, without marks.",
            rich_help_panel="Picture",
        ),
    ] = False,
    numbers: options.NumbersOption = False,
    links: options.LinksOption = 5,
    as_json: options.JsonOption = False,
    form: options.FormatOption = None,
    include: options.IncludeOption = None,
    output: options.OutputOption = None,
    color: options.ColorOption = "auto",
    palette: options.PaletteOption = DEFAULT_PALETTE,
    background: options.BackgroundOption = "auto",
    width: options.WidthOption = None,
) -> None:
    """Draw a file that qkv wrote, without running the model, or convert it.

    All maps in the file are drawn, unless --layer or --head selects some. The
    files of `qkv attend` and `qkv grid` can also be converted to .json, .jsonl,
    .csv or .npz.

    Example: qkv attend "the river bank" --json | qkv render - --head L0H3

    Example: qkv render bank.json -o bank.csv

    Example: qkv grid "the river bank" --json | qkv render - --grid

    Example: qkv render attention.npz --tokens tokens.json --layer 3
    """
    target = Target.of(output, form, as_json=as_json, include=include or ())
    look = options.look(ctx)

    from qkv_cli.maps.compute import apply_reading
    from qkv_cli.maps.compute import show_quantity as show_quantity
    from qkv_cli.maps.head_maps import HeadMaps
    from qkv_cli.maps.selection import select_from
    from qkv_cli.render.terminal.attend import attention
    from qkv_cli.render.terminal.grid import Thumbnails

    if array is not None and tokens is None:
        raise UsageError("--array needs --tokens FILE, the tokens of that array.")
    token_list = None if tokens is None else read_bytes(tokens)
    if grid and numbers:
        raise UsageError("--grid and --numbers cannot be combined: a grid has no room for numbers.")
    reading = options.reading(ctx)
    of_maps = {
        "--layer": layer,
        "--head": head,
        "--mean": mean,
        "--hide-special": hide_special,
        "--words": merge_words,
        "--window": window,
        "--show": show,
        "--grid": grid,
        "--numbers": numbers,
    }
    given_options = [option for option, value in of_maps.items() if value]

    def results() -> Iterator[HeadMaps | Draw]:
        for path in files:
            for item in _read(path, token_list, array, given_options, links=links):
                if isinstance(item, HeadMaps):
                    shown_maps = show_quantity(item, show)
                    yield apply_reading(
                        select_from(shown_maps, layer or (), head or (), mean=mean), reading
                    )
                elif target.kind in DATA_FORMATS:
                    raise UsageError(
                        f"{source_name(path)} contains no head maps: it can be drawn, but not "
                        f"converted to {target.kind}."
                    )
                else:
                    yield item

    def picture(maps: HeadMaps, theme: Theme) -> RenderableType:
        return (
            Thumbnails(maps, theme)
            if grid
            else attention(maps, theme, numbers=numbers, links=links)
        )

    def draw(item: HeadMaps | Draw, theme: Theme) -> RenderableType:
        return picture(item, theme) if isinstance(item, HeadMaps) else item(theme)

    target.send_maps(cast("Iterator[HeadMaps]", results()), look, draw)


def _read(
    path: Path, tokens: bytes | None, array: str | None, map_options: Sequence[str], *, links: int
) -> Sequence[HeadMaps | Draw]:
    """Return the head maps of a file, or what draws its other documents.

    Raises:
        UsageError: Options for head maps are given, but the file contains none.
    """
    from qkv_cli.export.attention import documents, from_npz
    from qkv_cli.export.npz import file_type
    from qkv_cli.export.parse import json_array, parse_document
    from qkv_cli.render.terminal.document import own_options, redraw

    data = read_bytes(path)
    try:
        if tokens is not None:
            return [_maps_of_foreign_array(path, data, tokens, array)]
        if file_type(data) == "npz":
            return [from_npz(data)]
        results: list[HeadMaps | Draw] = []
        for document in documents(data):
            pictures = redraw(document, numbers="--numbers" in map_options, links=links)
            if pictures is None:
                results.append(parse_document(document, json_array))
                continue
            if inapplicable := [
                option for option in map_options if option not in own_options(document)
            ]:
                raise UsageError(
                    f"{source_name(path)} contains no head maps: leave out "
                    f"{', '.join(inapplicable)}."
                )
            results += pictures
        return results
    except (InputError, CheckpointError) as error:
        raise InputError(f"{source_name(path)}: {error}") from error


def _maps_of_foreign_array(path: Path, data: bytes, tokens: bytes, array: str | None) -> HeadMaps:
    """Return the head maps of weights computed by another program."""
    from qkv_cli.export.foreign_arrays import choose_array, maps_of_arrays

    weights = choose_array(_arrays(data), array)
    return maps_of_arrays("array" if str(path) == "-" else path.stem, weights, tokens)


def _arrays(data: bytes) -> Mapping[str, Stored]:
    """Return the arrays of a file by name; its type is recognised by content."""
    from qkv_cli.export.npz import file_type, from_npy, unpack_npz

    kind = file_type(data)
    if kind == "npz":
        return unpack_npz(data)
    if kind == "npy":
        return {"array": from_npy(data)}
    if kind == "safetensors":
        import numpy as np

        from qkv_cli.formats.safetensors import read_tensors

        return read_tensors(np.frombuffer(data, np.uint8), "it")
    raise InputError("not an .npz archive, a .npy array or a safetensors file.")
