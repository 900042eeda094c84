"""`qkv compare`: the difference of heads, models, texts or files."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import Look, Target, note
from qkv_cli.cli.texts import check_utf8, read_bytes, read_text, source_name
from qkv_cli.errors import InputError, UsageError
from qkv_cli.names import DEFAULT_MODEL, DEFAULT_PALETTE, Weighting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkv_cli.analysis.compare import Comparison
    from qkv_cli.maps.head_maps import HeadMaps
    from qkv_cli.maps.sides import Side, SideReader
    from qkv_cli.session.run import Reading

SAVED = (".json", ".jsonl", ".npz")


def _models() -> list[str]:
    from qkv_cli.store.catalogue import names

    return names()


def compare(
    ctx: typer.Context,
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT|FILE... HEAD...",
            help=(
                "A text in quotes, '-' for standard input, or files that qkv wrote; "
                "heads such as L0H3, or L0 for the mean of layer 0."
            ),
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
    weightings: Annotated[
        list[str] | None,
        typer.Option(
            "--weighting",
            metavar="NAME",
            help="softmax, hard or linear. Repeatable. Default: softmax.",
            rich_help_panel="Model",
        ),
    ] = None,
    causal: options.CausalOption = False,
    block: options.BlockOption = None,
    ablate: options.AblateOption = None,
    ablate_mean: options.AblateMeanOption = False,
    hide_special: options.HideSpecialOption = False,
    merge_words: options.WordsOption = False,
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
    look = options.look(ctx)
    reading = options.reading(ctx)
    default = os.environ.get("QKV_MODEL") or DEFAULT_MODEL
    compared = _sides(items or (), other or (), model or (), weightings or (), default)
    if nearest is not None:
        if fail_above is not None:
            raise UsageError("Use either --fail-above or --nearest, not both.")
        _nearest(compared, nearest, reading, top, target, look)
        return

    pairs = _pairs(compared, reading)
    if fail_above is not None and any(isnan(c.mean_divergence) for c in pairs):
        raise UsageError(
            "--fail-above needs a divergence, which linear weights, scores and empty maps lack."
        )
    if target.kind == "json":
        from qkv_cli.export.compare import compare_pieces

        target.send_pieces(compare_pieces(pairs))
    else:
        from qkv_cli.render.terminal.compare import pictures

        target.draw(pictures(pairs, numbers=numbers, links=links), look)
    largest = max(c.mean_divergence for c in pairs)
    if fail_above is not None and largest > fail_above:
        note(f"The mean divergence is {largest:.6g} bits, more than {fail_above:g}.")
        raise typer.Exit(1)


def _sides(
    items: Sequence[str],
    more_texts: Sequence[str],
    models: Sequence[str],
    weightings: Sequence[str],
    default: str,
) -> list[Side]:
    """Pair up options that are given several times; options given once apply to every side.

    Args:
        items: A text or files, and heads.
        others: Further texts.
        default: The default model.

    Raises:
        UsageError: The numbers of options do not match, or a weighting does not exist.
    """
    from qkv_cli.maps.sides import HEAD, Side

    if unknown_names := [name for name in weightings if name not in get_args(Weighting)]:
        raise UsageError(f"Unknown weighting {unknown_names[0]!r}: use softmax, hard or linear.")
    heads = [item for item in items if HEAD.fullmatch(item)]
    texts = _texts([item for item in items if item not in heads], more_texts)
    if all(isinstance(text, Path) for text in texts) and (models or weightings):
        raise UsageError(
            "-m and --weighting do not apply to files: their model and weighting are fixed."
        )
    several: dict[str, Sequence[Any]] = {
        "texts": texts,
        "heads": heads or [None],
        "models": models or [default],
        "weightings": weightings or ["softmax"],
    }
    n = max(map(len, several.values()))
    if mismatched := [
        f"{len(values)} {noun}" for noun, values in several.items() if 1 < len(values) != n
    ]:
        longest = next(f"{n} {noun}" for noun, values in several.items() if len(values) == n)
        raise UsageError(
            f"Cannot pair {mismatched[0]} with {longest}: give one, or the same number of each."
        )
    columns = [values if len(values) == n else [*values] * n for values in several.values()]
    rows = zip(*columns, strict=True)
    return [Side(of=of, head=head, model=m, weighting=w) for of, head, m, w in rows]


def _texts(items: Sequence[str], more_texts: Sequence[str]) -> list[str | Path]:
    """Return texts and files in their order; by default, standard input."""
    texts: list[str | Path] = [Path(item) if _saved(item) else item for item in items]
    plain_texts = [item for item in texts if isinstance(item, str)]
    if len(plain_texts) > 1:
        raise UsageError(
            f"Expected one text, found {len(plain_texts)}: put quotes around it, and give a "
            "second one with --with TEXT."
        )
    if plain_texts or not texts:
        text = read_text(plain_texts, None)
        texts = [item if isinstance(item, Path) else text for item in texts or [text]]
    return [*texts, *(check_utf8(other, "--with") for other in more_texts)]


def _saved(item: str) -> bool:
    """Whether an argument is a file that qkv wrote, and not a text."""
    path = Path(item)
    return path.suffix.lower() in SAVED and (path.is_file() or not re.search(r"\s", item))


def _reader(reading: Reading) -> SideReader:
    from qkv_cli.cli.watch import WATCH, open_model
    from qkv_cli.maps.sides import SideReader

    return SideReader(reading, open_model=open_model, read_file=_maps_of_file, watch=WATCH)


def _maps_of_file(path: Path) -> HeadMaps:
    from qkv_cli.export.attention import read_maps

    data = read_bytes(path)
    try:
        texts = read_maps(data)
    except InputError as error:
        raise InputError(f"{source_name(path)}: {error}") from error
    if len(texts) != 1:
        raise InputError(f"{source_name(path)} contains {len(texts)} texts; expected one.")
    return texts[0]


def _pairs(compared: Sequence[Side], reading: Reading) -> list[Comparison]:
    """Compare the first side with each of the others."""
    from qkv_cli.analysis.compare import compare
    from qkv_cli.render.terminal.compare import LETTERS

    if len(compared) == 1:
        raise UsageError(
            "Nothing to compare with: add a head, --with TEXT, a second -m or --weighting, or a "
            "file."
        )
    if len(compared) > len(LETTERS):
        raise UsageError(f"Cannot compare {len(compared)} maps: the maximum is {len(LETTERS)}.")
    first, *others = _reader(reading).selected(compared)
    return [compare(first, other) for other in others]


def _nearest(
    compared: Sequence[Side], head: str, reading: Reading, top: int, target: Target, look: Look
) -> None:
    """Rank the heads of the last side by their divergence from a head of the first."""
    from qkv_cli.analysis.compare import nearest_heads
    from qkv_cli.export.compare import nearest_json
    from qkv_cli.maps.sides import HEAD
    from qkv_cli.render.terminal.compare import NearestTable

    if not HEAD.fullmatch(head):
        raise UsageError(f"{head!r} is not a head name; write L0H3, or L0 for the mean of layer 0.")
    if len(compared) > 2 or any(side.head is not None for side in compared):
        raise UsageError(
            "--nearest compares one head with at most one other text, model or file: leave out "
            "the rest."
        )
    reader = _reader(reading)
    [reference] = reader.selected([replace(compared[0], head=head)])
    candidates = reader.maps(compared[-1], layers=["all"])
    nearest = nearest_heads(reference, candidates)[:top]
    if target.kind == "json":
        target.send(nearest_json(reference, candidates, nearest) + "\n")
        return
    target.draw(
        [lambda theme: NearestTable(own=reference, others=candidates, near=nearest, theme=theme)],
        look,
    )
