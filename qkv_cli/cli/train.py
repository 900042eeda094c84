"""`qkv train`: heads learned from a text over word vectors that stay as they are."""

from __future__ import annotations

from typing import Annotated

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import say
from qkv_cli.errors import UsageError
from qkv_cli.names import DEFAULT_MODEL

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

    from qkv_cli.cli.learning import Asked, learn_heads

    epochs = epochs or (None if minutes else EPOCHS)
    asked = Asked(corpus, vectors, out, heads, d_head, epochs, minutes, batch, rate, seed)
    for line in learn_heads(asked, resume=resume, force=force).splitlines():
        say(line)
