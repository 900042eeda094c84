"""`qkv explain`: the calculation of one weight, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from qkv_cli.cli import options
from qkv_cli.cli.output import Target, note, report_unknown
from qkv_cli.cli.texts import read_text
from qkv_cli.names import DEFAULT_MODEL, DEFAULT_PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkv_cli.analysis.explain import Explanation
    from qkv_cli.core.tokens import Token
    from qkv_cli.maps.head_maps import HeadMaps
    from qkv_cli.session.run import LoadedModel, Reading


def explain(
    ctx: typer.Context,
    text: options.TextArgument = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help=(
                'The word that attends, or its index; =3 for the word "3". '
                "Default: that of the largest weight."
            ),
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="The word attended to. Same form and default."),
    ] = None,
    file: options.FileOption = None,
    source: options.SourceOption = None,
    pair: options.PairOption = None,
    model: options.ModelOption = DEFAULT_MODEL,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            "-H",
            metavar="HEAD",
            help="L0H3, or 3 for a head of the last layer. Default: the largest weight.",
            autocompletion=options.head_names,
        ),
    ] = None,
    weighting: options.WeightingOption = "softmax",
    causal: options.CausalOption = False,
    block: options.BlockOption = None,
    random_heads: options.RandomHeadsOption = None,
    top: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="How many products and words to list. Default: 6 and 12."
        ),
    ] = None,
    as_json: options.OneJsonOption = False,
    output: options.JsonOutputOption = None,
    color: options.ColorOption = "auto",
    palette: options.PaletteOption = DEFAULT_PALETTE,
    background: options.BackgroundOption = "auto",
    width: options.WidthOption = None,
) -> None:
    """Explain one attention weight: every step from two word vectors to the output.

    For one query, one key and one head: the projections q, k and v, the score,
    softmax, the weighted values, and the output through W_O, with all numbers.

    Example: qkv explain "The fisherman sat on the bank of the river" --query bank --key river
    """
    target = Target.of(output, None, as_json=as_json, data=("json",))
    whole_text = read_text(text, file)

    from qkv_cli.cli.watch import open_model
    from qkv_cli.export.explain import explain_json
    from qkv_cli.render.terminal.explain import ExplainPage

    reading = options.reading(ctx)
    loaded = open_model(model, random_heads=random_heads)
    maps, x = _explain_weight(loaded, whole_text, reading, query=query, key=key, head=head)
    if target.kind == "json":
        target.send(explain_json(maps, x) + "\n")
        return
    lines = {} if top is None else {"products": top, "words": top}
    look = options.look(ctx)
    target.draw([lambda theme: ExplainPage(maps, x, theme, **lines)], look)


def _explain_weight(
    loaded: LoadedModel,
    text: str,
    reading: Reading,
    *,
    query: str | None,
    key: str | None,
    head: str | None,
) -> tuple[HeadMaps, Explanation]:
    """Choose the query, key and head, note the choices on stderr, and explain the weight."""
    from qkv_cli.analysis.explain import explain_layer, largest_weight
    from qkv_cli.analysis.focus import pick
    from qkv_cli.cli.watch import WATCH
    from qkv_cli.maps.compute import about_run, run_text
    from qkv_cli.maps.selection import Selection, traced_head

    layers, heads = (["all"], []) if head is None else ([], [head])
    run = run_text(loaded, text, reading, watch=WATCH)
    n_layers, n_heads = run.shape
    selection = Selection.parse(layers, heads, n_layers=n_layers, n_heads=n_heads)
    report_unknown((*run.queries, *run.keys), loaded.info.name)
    queries, keys = list(range(len(run.queries))), list(range(len(run.keys)))
    if query is not None:
        queries = pick("query", query, run.queries)
    if key is not None:
        keys = pick("key", key, run.keys)
    link = largest_weight(run.layers, selection.heads, queries, keys, run.block)
    x = explain_layer(
        model=run.model,
        layer=link.layer,
        name=run.block,
        head=link.head,
        query=link.query,
        key=link.key,
        weighting=reading.weighting,
    )
    m = traced_head(link.layer, link.head, run.block)
    if x.pattern.any():
        _note_choice("query", query, queries, link.query, run.queries)
        _note_choice("key", key, keys, link.key, run.keys)
    else:
        word = run.queries[link.query].word
        note(f"{word!r} has no other word to attend to: all its weights are 0.")
    if (n_heads := sum(map(len, selection.heads.values()))) > 1 and x.weight:
        note(
            f"Using {m.name}: it has the largest weight for this pair among {n_heads} heads. "
            "Choose another with --head."
        )
    return replace(about_run(loaded, run, reading), maps=[m], notes=run.notes), x


def _note_choice(
    side: str,
    reference: str | None,
    candidates: Sequence[int],
    chosen_index: int,
    tokens: Sequence[Token],
) -> None:
    """Note which token was chosen, if there was a choice."""
    from qkv_cli.analysis.focus import same_word

    text = tokens[chosen_index].word
    if reference is None:
        note(f"Using --{side} {chosen_index} ({text}): it has the largest weight.")
    elif len(candidates) > 1:
        places = ", ".join(map(str, candidates))
        note(
            f"{text!r} occurs at {places}: using --{side} {chosen_index}, which has the largest "
            "weight."
        )
    elif (same := same_word(reference, tokens)) and same != candidates:
        note(
            f"--{side} {reference} is read as an index; for the word, write --{side} ={reference}."
        )
