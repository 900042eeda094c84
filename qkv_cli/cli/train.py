"""`qkv train`: train heads on a corpus, over fixed word vectors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import note, say
from qkv_cli.errors import UsageError
from qkv_cli.figures import thousandths
from qkv_cli.names import DEFAULT_MODEL

if TYPE_CHECKING:
    from qkv_cli.training.run import TrainingResult

EPOCHS = 12  # two minutes on a corpus of a million words
_HEADS, _RUN = "Heads", "Run"


def train(
    corpus: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS",
            help="Text files (or .gz) with one sentence per line; '-' is standard input.",
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="NAME", help="Name or folder of the new model.")
    ],
    vectors: Annotated[
        str,
        typer.Option(metavar="NAME", help="A model's name or folder, or a file of word vectors."),
    ] = DEFAULT_MODEL,
    heads: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=256, help="Number of heads. Default: 8.", rich_help_panel=_HEADS
        ),
    ] = None,
    d_head: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1024,
            help="Size of each head. Default: 16.",
            rich_help_panel=_HEADS,
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=0.001,
            max=1e6,
            callback=options.finite,
            help=f"Passes over the corpus. Default: {EPOCHS}.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            min=0.001,
            max=1e6,
            callback=options.finite,
            help="Stop after this many minutes.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="Words per training step.", rich_help_panel=_RUN)
    ] = 1536,
    rate: Annotated[
        float,
        typer.Option(
            metavar="RATE",
            min=1e-9,
            max=1.0,
            callback=options.finite,
            help="Peak learning rate.",
            rich_help_panel=_RUN,
        ),
    ] = 3e-3,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Random seed. Default: 0. The same seed and epochs give the same heads.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the training run in --out.", rich_help_panel=_RUN),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the model in --out.", rich_help_panel=_RUN)
    ] = False,
) -> None:
    """Train attention heads on a text corpus, with fixed word vectors.

    Learns W_Q, W_K, W_V, W_O, their biases, and a bias for each distance between
    query and key. The task: given the other words of a sentence, choose the
    missing word among six, five of them random. Ctrl-C stops and keeps the best
    heads so far.

    Example: qkv train corpus.txt.gz --minutes 5 --out mine && qkv attend -m mine "the river bank"

    Example: zcat *.gz | qkv train - --vectors vectors.vec --heads 4 --out mine
    """
    if epochs and minutes:
        raise UsageError("Use either --epochs or --minutes, not both.")
    if resume and force:
        raise UsageError("Use either --resume or --force, not both.")

    from qkv_cli.cli.progress import counting_bar, start_new_line, training_bar
    from qkv_cli.training.run import TrainingOptions, TrainingWatch, train_heads

    trained = train_heads(
        TrainingOptions(
            corpus=corpus,
            vectors=vectors,
            out=out,
            n_heads=heads,
            d_head=d_head,
            epochs=epochs or (None if minutes else EPOCHS),
            minutes=minutes,
            batch=batch,
            rate=rate,
            seed=seed,
        ),
        resume=resume,
        force=force,
        watch=TrainingWatch(
            note=note,
            vectors=partial(counting_bar, "reading vectors"),
            steps=training_bar,
            interrupted=start_new_line,
        ),
    )
    for line in _report(trained):
        say(line)


def _report(trained: TrainingResult) -> list[str]:
    folder, shape, n_words = trained.folder, trained.shape, trained.n_words
    if not n_words:
        return [f"{folder} has already been trained this long: give more --epochs or --minutes."]
    return [
        f"{folder}: {shape.n_heads} heads of size {shape.d_head}, {n_words:,} words in "
        f"{trained.seconds:,.0f} s ({n_words / trained.seconds:,.0f} words/s).",
        f"Held-out accuracy, one word of six: {thousandths(trained.accuracy)} (chance: .167).",
    ]
