"""`qkv next`: predictions of the next token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import Target
from qkv_cli.cli.texts import read_text
from qkv_cli.errors import UsageError
from qkv_cli.names import DEFAULT_MODEL, DEFAULT_PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkv_cli.analysis.next import Next
    from qkv_cli.session.run import LoadedModel


def next(
    ctx: typer.Context,
    text: options.TextArgument = None,
    file: options.FileOption = None,
    model: options.ModelOption = DEFAULT_MODEL,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many tokens to list.")] = 10,
    ablate: options.AblateOption = None,
    ablate_mean: options.AblateMeanOption = False,
    as_json: options.OneJsonOption = False,
    output: options.JsonOutputOption = None,
    color: options.ColorOption = "auto",
    palette: options.PaletteOption = DEFAULT_PALETTE,
    background: options.BackgroundOption = "auto",
    width: options.WidthOption = None,
) -> None:
    """Predict the next token, with all heads or with some heads ablated.

    Needs a decoder such as gpt2 or smollm2; get one with `qkv models pull smollm2`.
    With --ablate, the probabilities before and after are shown.

    Example: qkv next -m smollm2 "The capital of France is" --top 5

    Example: qkv next -m smollm2 "The capital of France is" --ablate "L2H*,L3H4"
    """
    target = Target.of(output, None, as_json=as_json, data=("json",))
    look = options.look(ctx)
    whole_text = read_text(text, file)

    from qkv_cli.cli.watch import open_model
    from qkv_cli.export.next import next_json
    from qkv_cli.render.terminal.next import NextPicture

    prediction = _predict(open_model(model), whole_text, top, ablate or (), ablate_mean)
    if target.kind == "json":
        target.send(next_json(prediction) + "\n")
    else:
        target.draw([lambda theme: NextPicture(prediction, theme)], look)


def _predict(
    loaded: LoadedModel, text: str, top: int, ablate: Sequence[str], ablate_mean: bool
) -> Next:
    import numpy as np

    from qkv_cli.analysis.next import Next, odds
    from qkv_cli.cli.watch import WATCH
    from qkv_cli.formats.tokenizers.pieces import PieceTokenizer
    from qkv_cli.maps.compute import run_text
    from qkv_cli.maps.head_maps import HeadMaps
    from qkv_cli.session.run import Reading

    name = loaded.info.name
    if loaded.is_encoder_decoder:
        raise UsageError(
            f"`qkv next` does not apply to {name}, an encoder-decoder: `qkv attend` shows what it "
            "generates."
        )
    if loaded.model.unembed is None or not isinstance(loaded.tokenizer, PieceTokenizer):
        raise UsageError(
            f"{name} cannot predict tokens: it has no unembedding. Use a decoder such as smollm2."
        )
    runs = [run_text(loaded, text, Reading(), watch=WATCH)]
    if ablate or ablate_mean:
        reading = Reading(ablate=ablate, ablate_mean=ablate_mean)
        runs.append(run_text(loaded, text, reading, watch=WATCH))
    logits = np.stack([run.next_logits() for run in runs])
    odds_of_all, last = odds(logits, top), runs[-1]
    about = HeadMaps(
        model=last.describe(loaded.info),
        weighting="softmax",
        causal=last.causal,
        text=last.text,
        source=None,
        queries=last.queries,
        keys=last.keys,
        maps=(),
        ablated=last.ablated,
    )
    context_ids = [token.id for token in last.queries if not token.special]
    return Next(
        about,
        [loaded.tokenizer.next_token(context_ids[-1:], id) for id in odds_of_all.ids],
        odds_of_all,
    )
