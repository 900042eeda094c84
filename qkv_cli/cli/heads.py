"""`qkv heads`: statistics and labels of heads over any number of texts."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import Target, note_no_links, report_unknown
from qkv_cli.cli.progress import clear_progress, report_summary
from qkv_cli.cli.texts import read_texts
from qkv_cli.errors import UsageError
from qkv_cli.figures import count
from qkv_cli.names import DEFAULT_MODEL, DEFAULT_PALETTE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkv_cli.analysis.study import Study


def heads(
    ctx: typer.Context,
    text: options.TextArgument = None,
    file: options.FileOption = None,
    lines: options.LinesOption = False,
    source: options.SourceOption = None,
    model: options.ModelOption = DEFAULT_MODEL,
    layer: options.AllLayersOption = None,
    head: options.HeadOption = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Sort by this column (label, bits, prev, ...), largest first.",
        ),
    ] = None,
    shuffles: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Minimum number of shuffled readings; 0: no labels, dup, ind, pos or cont.",
        ),
    ] = 24,
    block: options.BlockOption = None,
    ablate: options.AblateOption = None,
    ablate_mean: options.AblateMeanOption = False,
    weighting: options.WeightingOption = "softmax",
    causal: options.CausalOption = False,
    random_heads: options.RandomHeadsOption = None,
    as_json: options.JsonOption = False,
    form: options.FormatOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=options.suffixes(".json .csv"),
        ),
    ] = None,
    color: options.ColorOption = "auto",
    palette: options.PaletteOption = DEFAULT_PALETTE,
    background: options.BackgroundOption = "auto",
    width: options.WidthOption = None,
) -> None:
    """Measure what each head does: a table of statistics, and a label if it beats chance.

    Means over the queries of all texts, special tokens left out:

    bits, max    entropy, and its share of the entropy of uniform weights
    dist         distance from query to key, in tokens
    self prev next 1st sep punc
                 weight on the word itself, the previous token, the next token,
                 the first token, separators (other special tokens) and
                 punctuation (Clark et al. 2019, What Does BERT Look At?)
    dup          weight on the same token elsewhere, in a text repeated once
                 (Elhage et al. 2021, A Mathematical Framework for
                 Transformer Circuits)
    ind          induction: weight on the token that followed the earlier copy
                 (Olsson et al. 2022, In-context Learning and Induction Heads)
    pos, cont    share of the pattern that stays with the positions, or moves
                 with the words, when the words are shuffled; 0 is chance

    A head gets a label only if its score in shuffled readings is above that of
    random patterns of equal entropy (p < .01, corrected for all heads) by at
    least a quarter of the possible margin.

    Example: qkv heads "The mango and the apple are fruits that grow on a tree" --sort previous

    Example: qkv heads --file sample_texts/two_banks.txt --lines --format csv
    """
    target = Target.of(output, form, as_json=as_json, data=("json", "csv"))
    if weighting == "linear":
        raise UsageError(
            "--weighting linear does not apply to qkv heads: its statistics need weights that "
            "sum to 1."
        )
    look = options.look(ctx)
    texts = read_texts(text, file, lines=lines)

    from qkv_cli.analysis.study import column_name, head_statistics, rank_heads, study
    from qkv_cli.cli.watch import StudyWatch, open_model
    from qkv_cli.export.heads import heads_csv, heads_json
    from qkv_cli.maps.compute import SEED, OrderedReader
    from qkv_cli.render.terminal.heads import HeadsTable

    sort_figure = None if sort is None else column_name(sort)
    layers = layer or ([] if head else ["all"])
    loaded = open_model(model, random_heads=random_heads)
    reading = options.reading(ctx)
    watch = StudyWatch()
    reader = OrderedReader(loaded, reading, layers, head or (), watch)
    result = _run_study(study(texts, reader, shuffles=shuffles, seed=SEED))
    report_unknown(watch.unknown.values(), loaded.info.name)
    table, about = head_statistics(result), result.about
    table = table if sort_figure is None else rank_heads(table, sort_figure)
    holds = count(len(table), "head")
    if target.kind == "json":
        target.send(heads_json(about, result.extent, table) + "\n", holds)
    elif target.kind == "csv":
        target.send(heads_csv(table), holds)
    else:
        if result.n_tokens == result.n_texts and not any(any(h.shares.values()) for h in table):
            note_no_links()
        target.draw(
            [lambda theme: HeadsTable(about=about, extent=result.extent, heads=table, theme=theme)],
            look,
            holds,
        )


def _run_study(steps: Iterator[Study]) -> Study:
    """Return the last step, and report progress on stderr."""
    started = monotonic()
    for step in steps:
        rate = step.n_tokens / max(monotonic() - started, 1e-3)
        report_summary(f"{count(step.n_texts, 'text')} read, {rate:,.0f} tokens/s")
    clear_progress()
    return step
