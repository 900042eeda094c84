"""The options that commands share. This module imports no numpy."""

from __future__ import annotations

from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qkv_cli.names import (
    NARROWEST,
    WIDEST,
    BackgroundMode,
    BlockChoice,
    ColorMode,
    FormatChoice,
    Show,
    Weighting,
)

if TYPE_CHECKING:
    from qkv_cli.cli.output import Look
    from qkv_cli.session.run import Reading

_MODEL, _MAPS = "Model", "Which maps"
_PICTURE, _RESULT = "Picture", "Result"


def reading(ctx: typer.Context) -> Reading:
    """Return the options of a command that have the name of a field of `Reading`."""
    from qkv_cli.session.run import Reading

    return Reading(**_fields(ctx, Reading))


def look(ctx: typer.Context) -> Look:
    """Return the options of a command that have the name of a field of `Look`."""
    from qkv_cli.cli.output import Look

    return Look(**_fields(ctx, Look))


def _fields(ctx: typer.Context, of: type) -> dict[str, Any]:
    values = {field.name: ctx.params.get(field.name) for field in fields(of)}
    return {name: value for name, value in values.items() if value is not None}


def suffixes(data: str) -> str:
    """Return the help of -o for a command that can write these kinds of data."""
    return f"Write to FILE, of a type given by its suffix: .svg .pdf .png .html .txt {data}"


def valid_text(parameter: typer.CallbackParam, text: str | None) -> str | None:
    """Refuse a text whose bytes are not UTF-8."""
    from qkv_cli.cli.texts import check_utf8

    return None if text is None else check_utf8(text, parameter.opts[0])


def model_names() -> list[str]:
    from qkv_cli.store.catalogue import names
    from qkv_cli.store.hub import cached_names

    return [*names(), *cached_names()]


def head_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete heads of the model on the command line: of one layer, or layer by layer."""
    n_layers, n_heads = _shape(ctx)
    layer = incomplete.upper().partition("H")[0]
    if n_layers > 1 and "H" not in incomplete.upper():
        return [name for i in range(n_layers) if (name := f"L{i}H*").startswith(incomplete)]
    heads = (f"L{i}H{j}" for i in range(n_layers) for j in range(n_heads))
    return [name for name in heads if name.partition("H")[0] == layer or n_layers == 1]


def layer_names(ctx: typer.Context) -> list[str]:
    return ["all", *map(str, range(_shape(ctx)[0]))]


def _shape(ctx: typer.Context) -> tuple[int, int]:
    """Return the layers and heads of the model on an incomplete command line; 0 if unknown."""
    from qkv_cli.errors import QkvError
    from qkv_cli.names import DEFAULT_MODEL
    from qkv_cli.session.load import read_info
    from qkv_cli.store.catalogue import find

    model = ctx.params.get("model") or DEFAULT_MODEL
    try:
        info = read_info(find(model if isinstance(model, str) else model[-1]))
    except QkvError:
        return 0, 0
    block = info.stacks.get(ctx.params.get("block") or "")
    return (info.n_layers, info.n_heads) if block is None else (block.n_layers, block.n_heads)


def finite(param: typer.CallbackParam, value: float | None) -> float | None:
    """Refuse NaN and infinity, which Typer's ranges accept.

    Raises:
        BadParameter: The number is not finite.
    """
    if value is None or isfinite(value):
        return value
    least, most = (getattr(param.type, end, None) for end in ("min", "max"))
    valid = f"from {least:g} " + ("up" if most is None else f"to {most:g}")
    raise typer.BadParameter(f"expected a number {valid}, found {value}.")


def _palettes() -> list[tuple[str, str]]:
    from qkv_cli.render.palettes import PALETTES

    return [(name, palette.about) for name, palette in PALETTES.items()]


TextArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TEXT", help="The text, in quotes; '-' is standard input.", show_default=False
    ),
]
FileOption = Annotated[
    list[Path] | None,
    typer.Option("--file", "-f", metavar="FILE", help="Read the text from FILE. Repeatable."),
]
LinesOption = Annotated[bool, typer.Option("--lines", help="Read each line as a separate text.")]
SourceOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Cross-attention: take keys and values from this text.",
        callback=valid_text,
    ),
]
PairOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Second sentence of a pair (encoders such as BERT).",
        callback=valid_text,
    ),
]

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        envvar="QKV_MODEL",
        help="A model's name or path; see `qkv models list`.",
        autocompletion=model_names,
        rich_help_panel=_MODEL,
    ),
]
WeightingOption = Annotated[
    Weighting,
    typer.Option(
        help="Softmax of the scores, all weight on the best key, or the scores themselves.",
        rich_help_panel=_MODEL,
    ),
]
CausalOption = Annotated[
    bool, typer.Option("--causal", help="Mask later tokens.", rich_help_panel=_MODEL)
]
BlockOption = Annotated[
    BlockChoice | None,
    typer.Option(
        help="Which attention of an encoder-decoder. Default: cross if there is a target text, "
        "given or generated; otherwise encoder.",
        rich_help_panel=_MODEL,
    ),
]
RandomHeadsOption = Annotated[
    int | None,
    typer.Option(
        metavar="SEED",
        min=0,
        help="Use random instead of trained heads (word-vector models).",
        rich_help_panel=_MODEL,
    ),
]

LayerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        "-l",
        metavar="LAYER",
        help="3, -1, 0:4 or all. Repeatable. Default: the last layer.",
        autocompletion=layer_names,
        rich_help_panel=_MAPS,
    ),
]
AllLayersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        "-l",
        metavar="LAYER",
        help="3, -1, 0:4 or all. Repeatable. Default: all layers.",
        autocompletion=layer_names,
        rich_help_panel=_MAPS,
    ),
]
FileLayersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        "-l",
        metavar="LAYER",
        help="3, -1, 0:4 or all. Repeatable. Default: all layers in the file.",
        autocompletion=layer_names,
        rich_help_panel=_MAPS,
    ),
]
HeadOption = Annotated[
    list[str] | None,
    typer.Option(
        "--head",
        "-H",
        metavar="HEAD",
        help="3, -1, 0:4, L0H3 or L0H*. Repeatable. L0H3 is added to the heads of --layer.",
        autocompletion=head_names,
        rich_help_panel=_MAPS,
    ),
]
MeanOption = Annotated[
    bool,
    typer.Option("--mean", help="Average the selected heads of each layer.", rich_help_panel=_MAPS),
]
AblateOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HEADS",
        help="Ablate these heads (L0H3,L2H*) and recompute later layers.",
        rich_help_panel=_MODEL,
    ),
]
AblateMeanOption = Annotated[
    bool,
    typer.Option(
        "--ablate-mean",
        help="With --ablate: replace a head's output by its mean over the text, not by zeros.",
        rich_help_panel=_MODEL,
    ),
]
ShowOption = Annotated[
    Show | None,
    typer.Option(
        help="Weights (default); scores before softmax; contributions, the norms of the "
        "weighted values times W_O; or rollout, the product of the weights up to the layer.",
        rich_help_panel=_MAPS,
    ),
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        metavar="START:STOP", help="Show only these tokens, such as 20:60.", rich_help_panel=_MAPS
    ),
]

HideSpecialOption = Annotated[
    bool,
    typer.Option(
        "--hide-special", help="Leave out special tokens such as [CLS].", rich_help_panel=_MAPS
    ),
]
WordsOption = Annotated[
    bool, typer.Option("--words", help="Merge sub-words into words.", rich_help_panel=_MAPS)
]

NumbersOption = Annotated[
    bool,
    typer.Option("--numbers", help="Write the numbers into the cells.", rich_help_panel=_PICTURE),
]
LinksOption = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        help="How many of the strongest links to list.",
        rich_help_panel=_PICTURE,
    ),
]
ColorOption = Annotated[
    ColorMode,
    typer.Option(help="auto: follow the terminal and NO_COLOR.", rich_help_panel=_PICTURE),
]
PaletteOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Colours: viridis, cividis, magma, blues, greys, ...",
        autocompletion=_palettes,
        rich_help_panel=_PICTURE,
    ),
]
BackgroundOption = Annotated[
    BackgroundMode,
    typer.Option(help="Background of the terminal or of the file.", rich_help_panel=_PICTURE),
]
WidthOption = Annotated[
    int | None,
    typer.Option(
        metavar="COLUMNS",
        min=NARROWEST,
        max=WIDEST,
        help="Width of the output. Default: that of the terminal.",
        rich_help_panel=_PICTURE,
    ),
]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Same as --format json.", rich_help_panel=_RESULT)
]
OneJsonOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON object.", rich_help_panel=_RESULT)
]
FormatOption = Annotated[
    FormatChoice | None,
    typer.Option(
        "--format",
        help="Output format. Default: that of the -o FILE, or text.",
        rich_help_panel=_RESULT,
    ),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAMES",
        help="Also write some of scores,q,k,v,z to .json, .jsonl or .npz.",
        rich_help_panel=_RESULT,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help=suffixes(".json .jsonl .csv .npz"),
        rich_help_panel=_RESULT,
    ),
]
JsonOutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help=suffixes(".json"), rich_help_panel=_RESULT),
]
