"""From a loaded model and a text to the head maps that were asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qkv_cli.cli.output import note, report_unknown
from qkv_cli.cli.waiting import counted, working_on
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMaps, Selection, average, select, windowed
from qkv_cli.maps.merge import hide_special, merge_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkv_cli.core.info import ModelInfo
    from qkv_cli.maps.head_maps import HeadMap
    from qkv_cli.names import Block, Show, Weighting
    from qkv_cli.session.run import LoadedModel, Run


@dataclass(frozen=True, slots=True)
class Reading:
    """How a text is read, whichever maps of it are looked at.

    Attributes:
        source: A second text, which the keys are of.
        pair: A second text in one row with the first.
        hide, words: See `hide_special` and `merge_words`.
        window: START:STOP, see `windowed`.
        show: What is seen of each map; None for the weights, or for what a file shows.
        ablate: Names of heads that hand nothing on, or their mean; see `Ablation`.
    """

    source: str | None = None
    weighting: Weighting = "softmax"
    causal: bool = False
    block: Block | None = None
    hide: bool = False
    words: bool = False
    window: str | None = None
    pair: str | None = None
    show: Show | None = None
    ablate: Sequence[str] = ()
    ablate_mean: bool = False

    def of(self, maps: HeadMaps) -> HeadMaps:
        """The tokens that are to be seen."""
        maps = hide_special(maps) if self.hide else maps
        maps = merge_words(maps) if self.words else maps
        maps = maps if self.window is None else windowed(maps, self.window)
        maps.refuse_not_finite()
        return maps


def open_model(name: str, *, random_heads: int | None = None) -> LoadedModel:
    """Open a model by its name or path, and say on stderr what its reader must know.

    Args:
        random_heads: See `load`.
    """
    from qkv_cli.session.load import load
    from qkv_cli.store.catalogue import find

    working_on(f"opening {name}")
    loaded = load(find(name), random_heads=random_heads)
    note_about(loaded.info)
    return loaded


def note_about(info: ModelInfo) -> None:
    """Print on stderr what a user of the model should know."""
    for text in info.notes:
        note(f"{info.name}: {text}")


def head_maps(
    loaded: LoadedModel,
    text: str,
    reading: Reading,
    *,
    layers: Sequence[str] = (),
    heads: Sequence[str] = (),
    mean: bool = False,
) -> HeadMaps:
    """Run a text through a model as far as its last chosen layer; report its unknown words.

    Args:
        layers, heads: See `Selection.parse`.
        mean: The average of each layer's chosen heads in their place.
    """
    run = opened(loaded, text, reading)
    n_layers, n_heads = run.shape
    chosen = Selection.parse(layers, heads, n_layers=n_layers, n_heads=n_heads)
    note_idle(run, chosen)
    report_unknown((*run.queries, *run.keys), loaded.info.name)
    show = reading.show or "weights"
    maps = _shown(run, chosen, reading)
    found = HeadMaps(
        run.describe(loaded.info),
        reading.weighting,
        run.causal,
        run.text,
        run.source,
        run.queries,
        run.keys,
        average(maps, show) if mean and show != "rollout" else maps,
        run.notes,
        run.pair,
        show,
        run.ablated,
    )
    return reading.of(found)


def opened(loaded: LoadedModel, text: str, reading: Reading) -> Run:
    """A text, ready to be computed, without the heads that are to hand nothing on.

    Raises:
        UsageError: No such head, or --ablate-mean of none.
    """

    def read(model: LoadedModel) -> Run:
        working_on(f"{model.info.name}: reading the text")
        run = model.read(
            text,
            reading.source,
            pair=reading.pair,
            block=reading.block,
            weighting=reading.weighting,
            causal=reading.causal,
        )
        return replace(run, layers=counted(run.layers, run.shape[0], model.info.name))

    names = [name.strip() for item in reading.ablate for name in item.split(",")]
    if not names:
        if reading.ablate_mean:
            raise UsageError("--ablate-mean needs --ablate HEADS.")
        return read(loaded)
    if plain := [name for name in names if not name.startswith(("L", "l"))]:
        raise UsageError(
            f"{plain[0]!r} is not a head name; write L0H3, or L0H* for all heads of layer 0."
        )
    whole = read(loaded)  # says how many heads there are, and of which block
    n_layers, n_heads = whole.shape
    gone = Selection.parse((), names, n_layers=n_layers, n_heads=n_heads).heads
    ablation = whole.ablation(gone, mean=reading.ablate_mean)
    said = " ".join(
        f"L{layer}H{head}"
        for layer, heads in sorted(gone.items())
        for head in (["*"] if len(heads) == n_heads else sorted(heads))
    )
    if reading.ablate_mean:
        said += " (replaced by their mean)"
    return replace(read(loaded.without(ablation)), ablated=said)


def note_idle(run: Run, chosen: Selection) -> None:
    """Say where an ablation cannot be seen: in its own layer, heads look where they looked."""
    if (ablation := run.model.ablation) and max(chosen.heads) <= (first := min(ablation.heads)):
        note(f"--ablate changes nothing here: only layers after layer {first} are recomputed.")


def note_no_links() -> None:
    """Said where there is nothing to be seen, and no legend to say so."""
    note("Nothing to show: in this model, a text of one word has no other word to attend to.")


def reshown(maps: HeadMaps, show: Show | None) -> HeadMaps:
    """The maps of a file, showing something else that it holds, or rollout of its patterns."""
    if show == "rollout" and any(m.rollout is None for m in maps.maps):
        from qkv_cli.maps.flow import followed

        return followed(maps)
    return maps if show is None else maps.showing(show)


def _shown(run: Run, chosen: Selection, reading: Reading) -> list[HeadMap]:
    """The chosen heads, each with what is to be seen of it."""
    if reading.show == "rollout":
        from qkv_cli.maps.flow import NOT_LINEAR, rollouts

        if any(set(heads) != set(range(run.shape[1])) for heads in chosen.heads.values()):
            raise UsageError("Rollout combines all heads of a layer: leave out --head.")
        if reading.weighting == "linear":
            raise UsageError(NOT_LINEAR)
        return rollouts(run.layers, chosen.heads.keys(), run.block)
    if reading.show == "contributions":
        from qkv_cli.maps.flow import normed_head

        return select(run.layers, chosen, run.block, normed_head)
    return select(run.layers, chosen, run.block)
