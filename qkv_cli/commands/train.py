"""`qkv train`: heads learned from a text over word vectors that stay as they are."""

from __future__ import annotations

from typing import Annotated

import typer

from qkv_cli.commands import options
from qkv_cli.commands.output import say
from qkv_cli.errors import UsageError

EPOCHS = 12  # two minutes on a corpus of a million words
_HEADS, _RUN = "Heads", "Run"


def train(
    corpus: Annotated[
        list[str],
        typer.Argument(metavar="CORPUS", help="Text files, a sentence a line, .gz too; or '-'."),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="NAME", help="The new model's name or folder.")
    ],
    vectors: Annotated[
        str, typer.Option(metavar="NAME", help="A model's name or folder, or a file of vectors.")
    ] = "glove",
    heads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=256, help="8 if not given.", rich_help_panel=_HEADS),
    ] = None,
    d_head: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=1024, help="16 if not given.", rich_help_panel=_HEADS),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=0.001,
            max=1e6,
            callback=options.finite,
            help=f"Passes over the corpus; {EPOCHS} if not given.",
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
            help="Or so long.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="Words a step.", rich_help_panel=_RUN)
    ] = 1536,
    rate: Annotated[
        float,
        typer.Option(
            metavar="RATE",
            min=1e-9,
            max=1.0,
            callback=options.finite,
            help="Learning rate at its peak.",
            rich_help_panel=_RUN,
        ),
    ] = 3e-3,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="0 if not given. The same seed and epochs: the same heads.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out.", rich_help_panel=_RUN)
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the model in --out.", rich_help_panel=_RUN)
    ] = False,
) -> None:
    """Learn heads: W_Q, W_K, W_V, W_O, their biases, and a bias for each offset.

    From the other words of its sentence, each word is to be told from five drawn
    at random. The vectors stay as they are. Ctrl-C keeps the best heads so far.

    Example: qkv train corpus.txt.gz --minutes 5 --out mine && qkv attend -m mine "the river bank"

    Example: zcat *.gz | qkv train - --vectors vectors.vec --heads 4 --out mine
    """
    if epochs and minutes:
        raise UsageError("--epochs or --minutes: one of them.")
    if resume and force:
        raise UsageError("--resume or --force: one of them.")

    from qkv_cli.commands.learning import Asked, learn_heads

    epochs = epochs or (None if minutes else EPOCHS)
    asked = Asked(corpus, vectors, out, heads, d_head, epochs, minutes, batch, rate, seed)
    for line in learn_heads(asked, resume=resume, force=force).splitlines():
        say(line)
