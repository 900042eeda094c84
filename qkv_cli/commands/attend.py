"""`qkv attend`: who looks at whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkv_cli.commands import options
from qkv_cli.commands.output import Look, Target, report_unknown
from qkv_cli.commands.texts import checked, read_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkv_cli.views import HeadMaps


def attend(
    text: options.TextArgument = None,
    file: options.FileOption = None,
    lines: options.LinesOption = False,
    source: options.SourceOption = None,
    model: options.ModelOption = "glove",
    layer: options.LayerOption = None,
    head: options.HeadOption = None,
    mean: options.MeanOption = False,
    window: options.WindowOption = None,
    weighting: options.WeightingOption = "softmax",
    causal: options.CausalOption = False,
    random_heads: options.RandomHeadsOption = None,
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
    """Show how strongly each word attends to every other: a heatmap for each head.

    Rows are queries (who looks), columns are keys (who is looked at).

    Example: qkv attend "The mango and the apple are fruits that grow on a tree"

    Example: qkv attend "the river bank" --head L0H3 --json | jq .maps[0].pattern
    """
    target = Target.of(output, form, as_json=as_json, include=include or ())
    look = Look(color, palette, background, width)
    texts = read_texts(text, file, lines=lines)

    from qkv_cli.loading import load
    from qkv_cli.render.attention import attention
    from qkv_cli.store.catalogue import find
    from qkv_cli.views import HeadMaps, Selection, average, select, windowed

    loaded = load(find(model), random_heads=random_heads)
    info = loaded.info
    chosen = Selection.parse(layer or (), head or (), n_layers=info.n_layers, n_heads=info.n_heads)
    second = None if source is None else checked(source, "The source")

    def results() -> Iterator[HeadMaps]:
        for one in texts:
            run = loaded.read(one, second, weighting=weighting, causal=causal)
            report_unknown((*run.queries, *run.keys), info.name)
            maps = select(run.layers, chosen)
            maps = average(maps) if mean else maps
            found = HeadMaps(info, weighting, causal, one, second, run.queries, run.keys, maps)
            yield found if window is None else windowed(found, window)

    target.send_maps(
        results(), look, lambda maps, theme: attention(maps, theme, values=values, links=links)
    )
