"""Head maps of a text: run the model, select heads, and apply the options of a `Reading`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from qkv_cli.core.block import LayerTrace
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.merge import merge_words
from qkv_cli.maps.selection import Selection, average, hide_special, ordinary, select, windowed
from qkv_cli.names import OrderName, Show
from qkv_cli.session.run import LoadedModel, Reading, Run, Tokenized

Order = Callable[[list[Token]], list[Token]]


class Watch:
    """What a caller hears while head maps are computed: by default, nothing."""

    def note(self, message: str) -> None:
        """Hear what a reader of the maps should know."""

    def reading(self, model: str) -> None:
        """Hear that a model starts to read a text."""

    def layers(
        self, layers: Iterator[LayerTrace], n_layers: int, model: str
    ) -> Iterator[LayerTrace]:
        """Return the layers, counting them as they are computed."""
        return layers

    def tokens(self, tokens: Iterable[Token], model: str) -> None:
        """Hear which tokens a model reads; some may be unknown to it."""


SILENT = Watch()
SEED = 0  # of random orders: the same results every time


def head_maps(
    loaded: LoadedModel,
    text: str,
    reading: Reading,
    *,
    layers: Sequence[str] = (),
    heads: Sequence[str] = (),
    mean: bool = False,
    watch: Watch = SILENT,
) -> HeadMaps:
    """Run a model on a text, up to the last selected layer.

    Args:
        layers, heads: See `Selection.parse`.
        mean: Average the selected heads of each layer.

    Raises:
        UsageError: An option does not apply to the model, or a head does not exist.
        InputError: The text is empty or too long, or its maps contain NaN or infinity.
    """
    run = run_text(loaded, text, reading, watch=watch)
    n_layers, n_heads = run.shape
    selection = Selection.parse(layers, heads, n_layers=n_layers, n_heads=n_heads)
    note_ineffective_ablation(run, selection, watch)
    watch.tokens((*run.queries, *run.keys), loaded.info.name)
    quantity = reading.show or "weights"
    maps = _shown(run, selection, reading)
    if mean and quantity != "rollout":
        maps = average(maps, quantity)
    result = replace(about_run(loaded, run, reading), maps=maps, notes=run.notes, shown=quantity)
    return apply_reading(result, reading)


def about_run(loaded: LoadedModel, run: Run, reading: Reading) -> HeadMaps:
    """Return head maps without a map: the model, the texts and the options of a run."""
    return HeadMaps(
        model=run.describe(loaded.info),
        weighting=reading.weighting,
        causal=run.causal,
        text=run.text,
        source=run.source,
        queries=run.queries,
        keys=run.keys,
        maps=(),
        pair=run.pair,
        ablated=run.ablated,
    )


def run_text(
    loaded: LoadedModel,
    text: str,
    reading: Reading,
    *,
    order: Order | None = None,
    watch: Watch = SILENT,
) -> Run:
    """Prepare the run of a model on a text, with the ablation that the reading asks for.

    Args:
        order: Returns the tokens of a text in the order in which to read them.

    Raises:
        UsageError: There is no such head, or --ablate-mean is given without --ablate.
    """
    watch.reading(loaded.info.name)
    tokens = loaded.tokenize(text, reading.source, pair=reading.pair, block=reading.block)
    if order is not None:
        tokens = tokens.reordered(order)
    ablated_heads, ablated = _ablated_heads(loaded, tokens, reading)
    run = loaded.run(
        tokens,
        weighting=reading.weighting,
        causal=reading.causal,
        ablated_heads=ablated_heads,
        ablate_mean=reading.ablate_mean,
    )
    layers = watch.layers(run.layers, run.shape[0], loaded.info.name)
    return replace(run, layers=layers, ablated=ablated)


def apply_reading(maps: HeadMaps, reading: Reading) -> HeadMaps:
    """Return maps without special tokens, of words, or of a window, as the reading asks for.

    Raises:
        InputError: A map contains NaN or infinity.
    """
    maps = hide_special(maps) if reading.hide_special else maps
    maps = merge_words(maps) if reading.merge_words else maps
    maps = maps if reading.window is None else windowed(maps, reading.window)
    maps.refuse_not_finite()
    return maps


def show_quantity(maps: HeadMaps, quantity: Show | None) -> HeadMaps:
    """Return the maps of a file, showing another quantity of the file, or rollout."""
    if quantity == "rollout" and any(m.rollout is None for m in maps.maps):
        from qkv_cli.maps.flow import with_rollout

        return with_rollout(maps)
    return maps if quantity is None else maps.showing(quantity)


class OrderedReader:
    """Computes the selected heads of texts, with the words in the order that a study asks for."""

    def __init__(
        self,
        loaded: LoadedModel,
        reading: Reading,
        layers: Sequence[str],
        heads: Sequence[str],
        watch: Watch = SILENT,
    ) -> None:
        """
        Args:
            layers, heads: See `Selection.parse`.

        Raises:
            UsageError: The block needs a source, since the model would generate another text.
        """
        if loaded.is_encoder_decoder and reading.source is None:
            if reading.block not in (None, "encoder"):
                raise UsageError(
                    f"--block {reading.block} needs --source TEXT here: without it, shuffling the "
                    "input would change the generated text."
                )
            reading = replace(reading, block="encoder")
        self.loaded, self.reading, self.watch = loaded, replace(reading, pair=None), watch
        self.layers, self.heads = layers, heads
        rng = np.random.default_rng(SEED)
        self.orders: dict[OrderName, Callable[[list[Token]], list[Token]] | None] = {
            "as written": None,
            "shuffled": lambda tokens: shuffled(tokens, rng),
            "twice": lambda tokens: repeated(tokens, rng),
            "sampled": lambda tokens: sampled(tokens, rng),
        }

    def __call__(self, text: str, order: OrderName) -> Iterator[HeadMaps]:
        """Yield the selected heads of a text, one layer at a time, with all its tokens."""
        run = run_text(self.loaded, text, self.reading, order=self.orders[order], watch=self.watch)
        n_layers, n_heads = run.shape
        selection = Selection.parse(self.layers, self.heads, n_layers=n_layers, n_heads=n_heads)
        if order == "as written":
            note_ineffective_ablation(run, selection, self.watch)
            self.watch.tokens((*run.queries, *run.keys), self.loaded.info.name)
        about = replace(about_run(self.loaded, run, self.reading), text=text, pair=None)
        about = replace(about, source=self.reading.source)
        for layer in run.layers:
            if heads := selection.heads.get(layer.index):
                layer_selection = Selection([(layer.index, head) for head in heads])
                yield replace(about, maps=select([layer], layer_selection, run.block))
            if layer.index == max(selection.heads):
                break


def note_ineffective_ablation(run: Run, selection: Selection, watch: Watch) -> None:
    """Note that an ablation changes no selected map: they are of layers before its effect."""
    ablation = run.model.ablation
    if ablation and max(selection.heads) <= (first := min(ablation.heads)):
        watch.note(
            f"--ablate changes nothing here: only layers after layer {first} are recomputed."
        )


def _ablated_heads(
    loaded: LoadedModel, tokens: Tokenized, reading: Reading
) -> tuple[dict[int, list[int]] | None, str]:
    """Return the heads to ablate, by layer, and how the output names them."""
    names = [name.strip() for item in reading.ablate for name in item.split(",")]
    if not names:
        if reading.ablate_mean:
            raise UsageError("--ablate-mean needs --ablate HEADS.")
        return None, ""
    if without_layer := [name for name in names if not name.startswith(("L", "l"))]:
        raise UsageError(
            f"{without_layer[0]!r} is not a head name; write L0H3, or L0H* for all heads of "
            "layer 0."
        )
    n_layers, n_heads = loaded.shape(tokens.block)
    by_layer = Selection.parse((), names, n_layers=n_layers, n_heads=n_heads).heads
    description = " ".join(
        f"L{layer}H{head}"
        for layer, heads in sorted(by_layer.items())
        for head in (["*"] if len(heads) == n_heads else sorted(heads))
    )
    if reading.ablate_mean:
        description += " (mean ablation)"
    return {layer: list(heads) for layer, heads in by_layer.items()}, description


def _shown(run: Run, selection: Selection, reading: Reading) -> list[HeadMap]:
    """Return the selected heads, with the quantity that the reading asks for."""
    if reading.show == "rollout":
        from qkv_cli.maps.flow import NOT_LINEAR, rollouts

        if any(set(heads) != set(range(run.shape[1])) for heads in selection.heads.values()):
            raise UsageError("Rollout combines all heads of a layer: leave out --head.")
        if reading.weighting == "linear":
            raise UsageError(NOT_LINEAR)
        return rollouts(run.layers, selection.heads.keys(), run.block)
    if reading.show == "contributions":
        from qkv_cli.maps.flow import normed_head

        return select(run.layers, selection, run.block, normed_head)
    return select(run.layers, selection, run.block)


MAX_REPEATED = 16  # words that are repeated
MAX_SAMPLED = 32  # words of a sample; fewer would not be read faster


def shuffled(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """Shuffle the ordinary tokens; special tokens keep their positions.

    A token keeps its `i`, its index in the text as written.
    """
    places = np.flatnonzero(ordinary(tokens))
    result = list(tokens)
    for place, source in zip(places, rng.permutation(places), strict=True):
        result[place] = tokens[source]
    return result


def sampled(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """Return at most `MAX_SAMPLED` of the ordinary tokens, shuffled, between the special ones."""
    return _framed(tokens, _shuffled_words(tokens, rng)[:MAX_SAMPLED])


def repeated(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    """Return at most `MAX_REPEATED` of the ordinary tokens, shuffled, and the same again.

    Only the repetition makes a token predictable, as in the random sequences of Olsson et al.
    2022 (arXiv 2209.11895).
    """
    words = _shuffled_words(tokens, rng)[:MAX_REPEATED]
    return _framed(tokens, [*words, *words])


def _shuffled_words(tokens: Sequence[Token], rng: np.random.Generator) -> list[Token]:
    return [token for token in shuffled(tokens, rng) if not token.special]


def _framed(tokens: Sequence[Token], words: Sequence[Token]) -> list[Token]:
    """Return words between the special tokens at the start and at the end of a text."""
    places = np.flatnonzero(ordinary(tokens))
    if not len(places):
        return list(tokens)
    return [*tokens[: places[0]], *words, *tokens[places[-1] + 1 :]]
