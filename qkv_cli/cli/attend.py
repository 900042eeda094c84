"""`qkv attend`: heatmaps of attention."""

from __future__ import annotations

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import Target
from qkv_cli.cli.texts import read_texts
from qkv_cli.names import DEFAULT_MODEL, DEFAULT_PALETTE


def attend(
    ctx: typer.Context,
    text: options.TextArgument = None,
    file: options.FileOption = None,
    lines: options.LinesOption = False,
    source: options.SourceOption = None,
    pair: options.PairOption = None,
    model: options.ModelOption = DEFAULT_MODEL,
    layer: options.LayerOption = None,
    head: options.HeadOption = None,
    mean: options.MeanOption = False,
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
    """Show how strongly each word attends to every other word: a heatmap for each head.

    Rows are queries (the word that attends), columns are keys (the word attended
    to). Without --layer and --head, all heads of the last layer are drawn.

    Example: qkv attend "The mango and the apple are fruits that grow on a tree"

    Example: qkv attend "the river bank" --head L0H3 --json | jq .maps[0].pattern

    Example: qkv attend "the river bank" -o bank.html

    Example: qkv attend "the river bank" --show contributions
    """
    target = Target.of(output, form, as_json=as_json, include=include or ())
    look = options.look(ctx)
    texts = read_texts(text, file, lines=lines)

    from qkv_cli.cli.watch import WATCH, open_model
    from qkv_cli.maps.compute import head_maps
    from qkv_cli.render.terminal.attend import attention

    loaded = open_model(model, random_heads=random_heads)
    reading = options.reading(ctx)
    results = (
        head_maps(
            loaded, one_text, reading, layers=layer or (), heads=head or (), mean=mean, watch=WATCH
        )
        for one_text in texts
    )
    target.send_maps(
        results,
        look,
        lambda maps, theme: attention(maps, theme, numbers=numbers, links=links),
        several=lines,
    )
