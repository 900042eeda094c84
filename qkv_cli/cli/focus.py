"""`qkv focus`: what one word attends to, or what attends to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import Target, note
from qkv_cli.cli.texts import read_text
from qkv_cli.errors import UsageError
from qkv_cli.names import DEFAULT_MODEL, DEFAULT_PALETTE

if TYPE_CHECKING:
    from qkv_cli.analysis.focus import Focus, Side
    from qkv_cli.maps.head_maps import HeadMaps


def focus(
    ctx: typer.Context,
    text: options.TextArgument = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help='Show what this word attends to. A word or its index; =3 for the word "3".',
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="Show which words attend to this word. Same form."),
    ] = None,
    file: options.FileOption = None,
    source: options.SourceOption = None,
    pair: options.PairOption = None,
    model: options.ModelOption = DEFAULT_MODEL,
    layer: options.LayerOption = None,
    head: options.HeadOption = None,
    mean: options.MeanOption = False,
    hide_special: options.HideSpecialOption = False,
    merge_words: options.WordsOption = False,
    show: options.ShowOption = None,
    weighting: options.WeightingOption = "softmax",
    causal: options.CausalOption = False,
    block: options.BlockOption = None,
    ablate: options.AblateOption = None,
    ablate_mean: options.AblateMeanOption = False,
    random_heads: options.RandomHeadsOption = None,
    top: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many weights to list per head.")
    ] = 5,
    as_json: options.OneJsonOption = False,
    output: options.JsonOutputOption = None,
    color: options.ColorOption = "auto",
    palette: options.PaletteOption = DEFAULT_PALETTE,
    background: options.BackgroundOption = "auto",
    width: options.WidthOption = None,
) -> None:
    """Show what one word attends to, or which words attend to it.

    Choose the word with --query or --key. Bars show the strongest weights of each
    head. In the text, words are shaded by their weight: by the mean weight if
    several heads are shown.

    Example: qkv focus "The fisherman sat on the bank of the river" --query bank

    Example: qkv focus "the river bank" --key river --mean
    """
    target = Target.of(output, None, as_json=as_json, data=("json",))
    if (query is None) == (key is None):
        raise UsageError(
            "Use either --query WORD (what it attends to) or --key WORD (what attends to it)."
        )
    look = options.look(ctx)
    whole_text = read_text(text, file)

    from qkv_cli.cli.watch import WATCH, open_model
    from qkv_cli.export.focus import focus_json
    from qkv_cli.maps.compute import head_maps
    from qkv_cli.render.terminal.focus import FocusPicture

    loaded = open_model(model, random_heads=random_heads)
    reading = options.reading(ctx)
    maps = head_maps(
        loaded, whole_text, reading, layers=layer or (), heads=head or (), mean=mean, watch=WATCH
    )
    focused = _pick_focus(maps, "key" if query is None else "query", query or key or "")
    if target.kind == "json":
        target.send(focus_json(focused, top) + "\n")
    else:
        target.draw([lambda theme: FocusPicture(focused, theme, top)], look)


def _pick_focus(maps: HeadMaps, side: Side, reference: str) -> Focus:
    """Return the focus on the first token that matches, and note the others on stderr."""
    from qkv_cli.analysis.focus import focus, pick, same_word

    tokens = maps.queries if side == "query" else maps.keys
    places = pick(side, reference, tokens)
    token = tokens[places[0]]
    if len(places) > 1:
        indices = ", ".join(str(tokens[place].i) for place in places)
        note(f"{token.word!r} occurs at {indices}: using --{side} {token.i}, the first.")
    elif (same := same_word(reference, tokens)) and same != places:
        note(
            f"--{side} {reference} is read as an index; for the word, write --{side} ={reference}."
        )
    return focus(maps, side, places[0])
