"""`qkv compare`: the difference of heads, models, texts or files."""

from __future__ import annotations

import os
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Annotated

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import Look, Target, note
from qkv_cli.cli.sides import HEAD, Side, maps_of_side, read_sides, sides
from qkv_cli.errors import UsageError
from qkv_cli.names import DEFAULT_MODEL, DEFAULT_PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkv_cli.analysis.compare import Comparison
    from qkv_cli.session.run import LoadedModel, Reading


def _models() -> list[str]:
    from qkv_cli.store.catalogue import names

    return names()


def compare(
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT|FILE... HEAD...",
            help="A text in quotes, '-' for standard input, or files that qkv wrote; "
            "heads such as L0H3, or L0 for the mean of layer 0.",
            show_default=False,
        ),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="TEXT", help="Another text to compare with. Repeatable."),
    ] = None,
    source: options.SourceOption = None,
    pair: options.PairOption = None,
    nearest: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD",
            help="List the heads that are most similar to this one.",
            autocompletion=options.head_names,
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many heads --nearest lists.")
    ] = 10,
    fail_above: Annotated[
        float | None,
        typer.Option(
            metavar="BITS",
            min=0,
            callback=options.finite,
            help="Exit with code 1 if a mean divergence exceeds BITS.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="A model's name or path. Repeatable.",
            autocompletion=_models,
            rich_help_panel="Model",
        ),
    ] = None,
    weighting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="softmax, hard or linear. Repeatable. Default: softmax.",
            rich_help_panel="Model",
        ),
    ] = None,
    causal: options.CausalOption = False,
    block: options.BlockOption = None,
    ablate: options.AblateOption = None,
    ablate_mean: options.AblateMeanOption = False,
    hide: options.HideSpecialOption = False,
    words: options.WordsOption = False,
    window: options.WindowOption = None,
    show: options.ShowOption = None,
    numbers: options.NumbersOption = False,
    links: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="How many of the largest differences to list.",
            rich_help_panel="Picture",
        ),
    ] = 5,
    as_json: options.OneJsonOption = False,
    output: options.JsonOutputOption = None,
    color: options.ColorOption = "auto",
    palette: options.PaletteOption = DEFAULT_PALETTE,
    background: options.BackgroundOption = "auto",
    width: options.WidthOption = None,
) -> None:
    """Compare heads, layers, models, texts or files: two maps and their difference.

    Give two or more heads, texts, models, weightings or files: the first is
    compared with each of the others. An option given once applies to all. Without
    a head, the mean of the last layer is compared. Texts and models with
    different tokens are aligned by their words.

    The Jensen-Shannon divergence is in bits, from 0 (equal) to 1 (Lin 1991).

    Example: qkv compare "She deposited the money in the bank" L0H1 L0H3

    Example: qkv compare "too tired to cross" --with "too wide to cross" L0H0

    Example: qkv compare "the river bank" --nearest L0H0

    Example: qkv compare "the river bank" L0H0 L0H0 --fail-above 0
    """
    target = Target.of(output, None, as_json=as_json, data=("json",))
    look = Look(color, palette, background, width)

    from qkv_cli.session.run import Reading

    reading = Reading(
        source=source,
        pair=pair,
        block=block,
        causal=causal,
        ablate=ablate or (),
        ablate_mean=ablate_mean,
        hide_special=hide,
        merge_words=words,
        window=window,
        show=show,
    )
    default = os.environ.get("QKV_MODEL") or DEFAULT_MODEL
    compared = sides(items or (), other or (), model or (), weighting or (), default)
    if nearest is not None:
        if fail_above is not None:
            raise UsageError("Use either --fail-above or --nearest, not both.")
        _nearest(compared, nearest, reading, top, target, look)
        return

    from qkv_cli.render.terminal.compare import LETTERS

    if not 1 < len(compared) <= len(LETTERS):
        raise UsageError(
            "Nothing to compare with: add a head, --with TEXT, a second -m or --weighting, or a "
            "file."
            if len(compared) == 1
            else f"Cannot compare {len(compared)} maps: the maximum is {len(LETTERS)}."
        )
    pairs = _pairs(compared, reading)
    if fail_above is not None and any(isnan(c.mean_divergence) for c in pairs):
        raise UsageError(
            "--fail-above needs a divergence, which linear weights, scores and empty maps lack."
        )
    if target.kind == "json":
        from qkv_cli.export.compare import compare_json

        target.send(compare_json(pairs) + "\n")
    else:
        from qkv_cli.render.terminal.compare import pictures

        target.draw(pictures(pairs, numbers=numbers, links=links), look)
    largest = max(c.mean_divergence for c in pairs)
    if fail_above is not None and largest > fail_above:
        note(f"The mean divergence is {largest:.6g} bits, more than {fail_above:g}.")
        raise typer.Exit(1)


def _pairs(compared: Sequence[Side], reading: Reading) -> list[Comparison]:
    """Compare the first side with each of the others."""
    from qkv_cli.analysis.compare import compare

    first, *others = read_sides(compared, reading)
    return [compare(first, other) for other in others]


def _nearest(
    compared: Sequence[Side], head: str, reading: Reading, top: int, target: Target, look: Look
) -> None:
    """Rank the heads of the last side by their divergence from a head of the first."""
    from qkv_cli.analysis.compare import nearest_heads
    from qkv_cli.export.compare import nearest_json
    from qkv_cli.render.terminal.compare import NearestTable

    if not HEAD.fullmatch(head):
        raise UsageError(f"{head!r} is not a head name; write L0H3, or L0 for the mean of layer 0.")
    if len(compared) > 2 or any(side.head is not None for side in compared):
        raise UsageError(
            "--nearest compares one head with at most one other text, model or file: leave out "
            "the rest."
        )
    [own] = read_sides([replace(compared[0], head=head)], reading)
    models: dict[str, LoadedModel] = {}
    others = maps_of_side(compared[-1], reading, models, layers=["all"])
    near = nearest_heads(own, others)[:top]
    if target.kind == "json":
        target.send(nearest_json(own, others, near) + "\n")
        return
    target.draw([lambda theme: NearestTable(own, others, near, theme)], look)
