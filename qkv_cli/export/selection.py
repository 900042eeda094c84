"""Of the maps that a file has, those that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qkv_cli.errors import UsageError
from qkv_cli.views import HeadMap, HeadMaps, Selection, average, indices


def choose(
    maps: HeadMaps, layers: Sequence[str], heads: Sequence[str], *, mean: bool = False
) -> HeadMaps:
    """What `--layer`, `--head` and `--mean` ask of a file; without them, all that it has.

    They mean what they mean to a model, but that a range, `all` and `L0H*` stand for the
    heads that the file has, and a plain `--head` for that head of each of its layers.

    Raises:
        UsageError: The model or the file has no such head; it says which the file has.
    """
    found = _asked_for(maps, layers, heads) if layers or heads else list(maps.maps)
    if mean and any(m.head is not None for m in found):
        found = average([m for m in found if m.head is not None], maps.shown)
    return replace(maps, maps=found)


def _asked_for(maps: HeadMaps, layers: Sequence[str], heads: Sequence[str]) -> list[HeadMap]:
    if not layers and any(head[:1] not in "Ll" for head in heads):
        layers = list(dict.fromkeys(str(m.layer) for m in maps.maps))
    n_layers, n_heads = maps.model.n_layers, maps.model.n_heads
    places: list[tuple[int, int | None]]
    if heads:
        places = [*Selection.parse(layers, heads, n_layers=n_layers, n_heads=n_heads).places]
    else:  # an average belongs to its layer, and to no head of it
        chosen = indices("layer", layers, n_layers)
        places = [(at, head) for at in chosen for head in (*range(n_heads), None)]
    found = [m for place in places for m in maps.maps if (m.layer, m.head) == place]
    missing = set(places) - {(m.layer, m.head) for m in found}
    loose = not heads or any(x == "all" or ":" in x or "*" in x for x in (*layers, *heads))
    if not found or (missing and not loose):
        layer, head = next(place for place in places if place in missing)
        what = f"layer {layer}" if head is None or not heads else f"L{layer}H{head}"
        raise UsageError(f"The file has no {what}: it has {_names(maps.maps)}.")
    return found


def _names(maps: Sequence[HeadMap]) -> str:
    more = f" and {len(maps) - 12} more" if len(maps) > 12 else ""
    return ", ".join(m.name for m in maps[:12]) + more
