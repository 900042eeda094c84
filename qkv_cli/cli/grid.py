"""`qkv grid`: every head of every layer as a thumbnail."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import Target
from qkv_cli.cli.texts import read_texts
from qkv_cli.names import DEFAULT_MODEL, DEFAULT_PALETTE

if TYPE_CHECKING:
    from qkv_cli.maps.head_maps import HeadMaps
    from qkv_cli.render.terminal.grid import Thumbnails
    from qkv_cli.render.theme import Theme


def grid(
    ctx: typer.Context,
    text: options.TextArgument = None,
    file: options.FileOption = None,
    lines: options.LinesOption = False,
    source: options.SourceOption = None,
    pair: options.PairOption = None,
    model: options.ModelOption = DEFAULT_MODEL,
    layer: options.AllLayersOption = None,
    head: options.HeadOption = None,
    hide_special: options.HideSpecialOption = False,
    merge_words: options.WordsOption = False,
    window: options.WindowOption = None,
    show: options.ShowOption = None,
    weighting: options.WeightingOption = "softmax",
    causal: options.CausalOption = False,
    block: options.BlockOption = None,
    ablate: options.AblateOption = None,
    ablate_mean: options.AblateMeanOption = False,
    random_heads: options.RandomHeadsOption = None,
    shuffles: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="How many shuffled readings the marks are based on; 0: no marks.",
            rich_help_panel="Picture",
        ),
    ] = 4,
    as_json: options.JsonOption = False,
    form: options.FormatOption = None,
    include: options.IncludeOption = None,
    output: options.OutputOption = None,
    color: options.ColorOption = "auto",
    palette: options.PaletteOption = DEFAULT_PALETTE,
    background: options.BackgroundOption = "auto",
    width: options.WidthOption = None,
) -> None:
    """Draw every head of every layer as a thumbnail, and mark heads with a known role.

    The grid has a row for each layer and a column for each head. In a thumbnail,
    rows are queries and columns are keys. If a thumbnail is smaller than the
    text, each cell shows the largest of several weights; the legend says how many.

    Marks are the labels of `qkv heads`: = self, < previous token, > next token,
    ^ first token, | separators, ',' punctuation, d duplicate, i induction. They
    are measured in a few shuffled readings of at most 32 words (0.1 s for 72
    heads). `qkv heads` uses more readings and finds more labels.

    Example: qkv grid "The mango and the apple are fruits that grow on a tree"

    Example: qkv grid -m minilm --layer 0:3 "The animal was too tired"
    """
    target = Target.of(output, form, as_json=as_json, include=include or ())
    look = options.look(ctx)
    texts = read_texts(text, file, lines=lines)

    from qkv_cli.analysis.study import find_marks
    from qkv_cli.cli.output import note_no_links
    from qkv_cli.cli.watch import WATCH, open_model
    from qkv_cli.maps.compute import OrderedReader, head_maps
    from qkv_cli.render.terminal.grid import Thumbnails

    loaded = open_model(model, random_heads=random_heads)
    reading = options.reading(ctx)
    layers, heads = layer or ([] if head else ["all"]), head or []
    # Labels need weights that sum to 1, and single heads.
    n_shuffles = 0 if weighting == "linear" or show == "rollout" else shuffles

    def draw(maps: HeadMaps, theme: Theme) -> Thumbnails:
        if len(maps.keys) == 1 and not any(maps.seen(m)[:].any() for m in maps.maps):
            note_no_links()
        # Text that the model generated is kept while words are shuffled.
        reader = OrderedReader(loaded, replace(reading, source=maps.source), layers, heads)
        head_marks = find_marks(" ".join([maps.text, maps.pair or ""]), reader, n_shuffles)
        return Thumbnails(maps=maps, theme=theme, marks=head_marks, n_shuffles=n_shuffles)

    results = (
        head_maps(loaded, one_text, reading, layers=layers, heads=heads, watch=WATCH)
        for one_text in texts
    )
    target.send_maps(results, look, draw, several=lines)
