"""From a loaded model and a text to the head maps that were asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qkv_cli.analysis.merge import hide_special, merge_words
from qkv_cli.commands.output import report_unknown
from qkv_cli.views import HeadMaps, Selection, average, select, windowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkv_cli.core.attention import Weighting
    from qkv_cli.loading import BlockName, LoadedModel


@dataclass(frozen=True, slots=True)
class Reading:
    """How a text is read, whichever maps of it are looked at.

    Attributes:
        source: A second text, which the keys are of.
        pair: A second text in one row with the first.
        hide, words: See `hide_special` and `merge_words`.
        window: START:STOP, see `windowed`.
    """

    source: str | None = None
    weighting: Weighting = "softmax"
    causal: bool = False
    block: BlockName | None = None
    hide: bool = False
    words: bool = False
    window: str | None = None
    pair: str | None = None

    def of(self, maps: HeadMaps) -> HeadMaps:
        """The tokens that are to be seen."""
        maps = hide_special(maps) if self.hide else maps
        maps = merge_words(maps) if self.words else maps
        return maps if self.window is None else windowed(maps, self.window)


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
    run = loaded.read(
        text,
        reading.source,
        pair=reading.pair,
        block=reading.block,
        weighting=reading.weighting,
        causal=reading.causal,
    )
    n_layers, n_heads = run.shape
    chosen = Selection.parse(layers, heads, n_layers=n_layers, n_heads=n_heads)
    report_unknown((*run.queries, *run.keys), loaded.info.name)
    maps = select(run.layers, chosen, run.block)
    found = HeadMaps(
        replace(loaded.info, n_layers=n_layers, n_heads=n_heads),
        reading.weighting,
        run.causal,
        run.text,
        run.source,
        run.queries,
        run.keys,
        average(maps) if mean else maps,
        run.notes,
        run.pair,
    )
    return reading.of(found)
