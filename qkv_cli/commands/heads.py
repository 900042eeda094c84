"""`qkv heads`: what each head does, over as many texts as there are."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qkv_cli.commands import options
from qkv_cli.commands.output import Look, Target, note, report_unknown
from qkv_cli.commands.texts import checked, read_texts
from qkv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qkv_cli.analysis.study import Order, Study
    from qkv_cli.core.attention import Weighting
    from qkv_cli.core.tokens import Token
    from qkv_cli.loading import LoadedModel
    from qkv_cli.views import HeadMaps

SEED = 0  # of the orders and the chances that are drawn: the same table every time
ON_TERMINAL, IN_LOG = 0.2, 10.0  # seconds between two words on how far it is


def heads(
    text: options.TextArgument = None,
    file: options.FileOption = None,
    lines: options.LinesOption = False,
    source: options.SourceOption = None,
    model: options.ModelOption = "glove",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            "-l",
            metavar="LAYER",
            help="3, -1, 0:4 or all. Repeatable. All if not given.",
        ),
    ] = None,
    head: options.HeadOption = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="FIGURE", help="The largest first: label, entropy, previous, ..."),
    ] = None,
    shuffles: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Readings in another order; 0: and no labels."),
    ] = 24,
    block: options.BlockOption = None,
    weighting: options.WeightingOption = "softmax",
    causal: options.CausalOption = False,
    random_heads: options.RandomHeadsOption = None,
    as_json: options.JsonOption = False,
    form: options.FormatOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Its suffix chooses: .txt .json .csv"),
    ] = None,
    color: options.ColorOption = "auto",
    palette: options.PaletteOption = "viridis",
    background: options.BackgroundOption = "auto",
    width: options.WidthOption = None,
) -> None:
    """Tell what each head does: a table of figures, and a label where it beats chance.

    Means over the words of all texts:

    bits, max    entropy, and its share of what even weights would have
    dist         mean distance from query to key, in tokens
    self prev next 1st sep punc
                 weight on the word itself, the token before, the one behind,
                 the first, separators (special tokens), punctuation
                 (Clark et al. 2019, What Does BERT Look At?)
    dup          weight on the same token elsewhere, in words read twice
                 (Elhage et al. 2021, A Mathematical Framework for
                 Transformer Circuits)
    ind          induction: weight on what stood behind it there (Olsson et
                 al. 2022, In-context Learning and Induction Heads)
    pos, cont    how much of the pattern stays with the places, and goes
                 with the words, when the words are shuffled; 0 is chance

    A head has a label only if its score in shuffled readings beats that of
    random patterns of equal entropy (p < .01 for all heads together) by a
    quarter of what is possible. Random projections get none.

    Example: qkv heads "The mango and the apple are fruits that grow on a tree" --sort previous

    Example: qkv heads --file sample_texts/two_banks.txt --lines --format csv
    """
    target = Target.of(output, form, as_json=as_json)
    if target.kind not in ("text", "json", "csv"):
        raise UsageError(f"{output or form} cannot be written: text, json or csv here.")
    if weighting == "linear":
        raise UsageError("--weighting linear: shares need weights that add up to 1.")
    look = Look(color, palette, background, width)
    texts = read_texts(text, file, lines=lines)

    from qkv_cli.analysis.heads import figure_called, ranked, statistics
    from qkv_cli.analysis.study import study
    from qkv_cli.export.heads import heads_csv, heads_json
    from qkv_cli.loading import load
    from qkv_cli.render.heads import HeadsTable
    from qkv_cli.store.catalogue import find

    by = None if sort is None else figure_called(sort)
    second = None if source is None else checked(source, "The source")
    layers = layer or ([] if head else ["all"])
    asked = Asked(second, layers, head or [], block, weighting, causal)
    loaded = load(find(model), random_heads=random_heads)
    reading = Reading(loaded, asked)
    found = _watched(study(texts, reading, shuffles=shuffles, seed=SEED))
    report_unknown(reading.unknown.values(), loaded.info.name)
    table, about = statistics(found), reading.about
    table = table if by is None else ranked(table, by)
    if target.kind == "json":
        target.send(heads_json(about, found, table) + "\n")
    elif target.kind == "csv":
        target.send(heads_csv(table))
    else:
        target.send(
            look.text(
                lambda theme: HeadsTable(about, found, table, theme),
                to_file=target.path is not None,
            )
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What the reader typed, apart from the texts."""

    source: str | None
    layers: Sequence[str]
    heads: Sequence[str]
    block: options.BlockChoice | None
    weighting: Weighting
    causal: bool


class Reading:
    """Reads texts in the orders that a study asks for.

    Attributes:
        about: The model and how it read, without a text.
        unknown: The words that the model does not know.
    """

    def __init__(self, loaded: LoadedModel, asked: Asked) -> None:
        import numpy as np

        from qkv_cli.analysis.shuffled import repeated, shuffled
        from qkv_cli.views import HeadMaps

        rng = np.random.default_rng(SEED)
        self.asked = asked
        self.loaded: dict[Order, LoadedModel] = {
            "as written": loaded,
            "shuffled": reordered(loaded, lambda tokens: shuffled(tokens, rng)),
            "twice": reordered(loaded, lambda tokens: repeated(tokens, rng)),
        }
        self.about = HeadMaps(
            loaded.info, asked.weighting, asked.causal, "", asked.source, (), (), ()
        )
        self.unknown: dict[str, Token] = {}

    def __call__(self, text: str, order: Order) -> Iterator[HeadMaps]:
        """The chosen heads, a layer at a time."""
        from qkv_cli.views import Selection, select

        asked = self.asked
        run = self.loaded[order].read(
            text, asked.source, block=asked.block, weighting=asked.weighting, causal=asked.causal
        )
        n_layers, n_heads = run.shape
        chosen = Selection.parse(asked.layers, asked.heads, n_layers=n_layers, n_heads=n_heads)
        self.about = replace(self.about, causal=run.causal)
        if order == "as written":
            self.unknown |= {t.text: t for t in (*run.queries, *run.keys) if t.unknown}
        read = replace(self.about, text=text, queries=run.queries, keys=run.keys)
        for layer in run.layers:
            if heads := chosen.heads.get(layer.index):
                only = Selection({layer.index: heads})
                yield replace(read, maps=select([layer], only, run.block))
            if layer.index == max(chosen.heads):
                break


def reordered(loaded: LoadedModel, order: Callable[[list[Token]], list[Token]]) -> LoadedModel:
    """The same model, reading the tokens of a text in another order.

    Its tokenizer stays of its own kind, so that it still teaches a decoder.
    """
    kind: Any = type(loaded.tokenizer)

    def encode(tokenizer: Any, text: str) -> list[Token]:
        return order(kind.encode(tokenizer, text))

    other = type(kind.__name__, (kind,), {"__slots__": (), "encode": encode})
    parts = {f.name: getattr(loaded.tokenizer, f.name) for f in fields(kind)}
    return replace(loaded, tokenizer=other(**parts))


def _watched(steps: Iterator[Study]) -> Study:
    """The last step; on the way, stderr says how far it is."""
    terminal = sys.stderr.isatty()
    started = said = monotonic()
    for step in steps:
        now = monotonic()
        if now - said > (ON_TERMINAL if terminal else IN_LOG):
            said = now
            far = f"{step.n_texts:,} texts, {step.n_tokens / (now - started):,.0f} tokens/s"
            if terminal:
                print(f"\r{far}\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201
            else:
                note(far)
    if terminal and said > started:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201
    return step
