"""From a loaded model and a text to the head maps that were asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qkv_cli.analysis.merge import hide_special, merge_words
from qkv_cli.commands.output import report_unknown
from qkv_cli.views import HeadMaps, Selection, average, select, windowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkv_cli.core.attention import Weighting
    from qkv_cli.loading import BlockName, LoadedModel


def head_maps(
    loaded: LoadedModel,
    text: str,
    source: str | None = None,
    *,
    layers: Sequence[str] = (),
    heads: Sequence[str] = (),
    weighting: Weighting = "softmax",
    causal: bool = False,
    block: BlockName | None = None,
    mean: bool = False,
    hide: bool = False,
    words: bool = False,
    window: str | None = None,
) -> HeadMaps:
    """Run a text through a model as far as its last chosen layer; report its unknown words.

    Args:
        layers, heads: See `Selection.parse`.
        hide, words: See `hide_special` and `merge_words`.
        mean: The average of each layer's chosen heads in their place.
        window: START:STOP, see `windowed`.
    """
    info = loaded.info
    run = loaded.read(text, source, block=block, weighting=weighting, causal=causal)
    n_layers, n_heads = run.shape
    chosen = Selection.parse(layers, heads, n_layers=n_layers, n_heads=n_heads)
    report_unknown((*run.queries, *run.keys), info.name)
    maps = select(run.layers, chosen, run.block)
    maps = average(maps) if mean else maps
    found = HeadMaps(
        replace(info, n_layers=n_layers, n_heads=n_heads),
        weighting,
        run.causal,
        run.text,
        run.source,
        run.queries,
        run.keys,
        maps,
        run.notes,
    )
    found = hide_special(found) if hide else found
    found = merge_words(found) if words else found
    return found if window is None else windowed(found, window)
