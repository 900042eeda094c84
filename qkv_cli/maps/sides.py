"""The sides of a comparison: heads of texts in models, or of files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qkv_cli.maps.compute import SILENT, Watch, apply_reading, head_maps, show_quantity
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.maps.selection import select_from
from qkv_cli.names import Weighting
from qkv_cli.session.run import LoadedModel, Reading

HEAD = re.compile(r"([Ll]-?\d+)([Hh](?:-?\d+|\*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a comparison: a head of a text in a model, or of a file."""

    of: str | Path  # the text, or the file
    head: str | None  # L0H3, L0 or L0H* for a layer's mean, None for that of the last layer
    model: str
    weighting: Weighting


class SideReader:
    """Computes or reads the maps of sides. Each model is opened once.

    Args:
        open_model: Opens a model by its name.
        read_file: Reads the maps of a file.
    """

    def __init__(
        self,
        reading: Reading,
        *,
        open_model: Callable[[str], LoadedModel],
        read_file: Callable[[Path], HeadMaps],
        watch: Watch = SILENT,
    ) -> None:
        self.reading, self.watch = reading, watch
        self._open_model, self._read_file = open_model, read_file
        self._models: dict[str, LoadedModel] = {}

    def selected(self, sides: Sequence[Side]) -> list[HeadMaps]:
        """Return the map of each side. Heads of one text in one model are computed together."""
        heads: dict[Side, list[str]] = {}
        for side in sides:
            heads.setdefault(replace(side, head=None), []).append(_names(side.head))
        maps = {side: self.maps(side, heads=names) for side, names in heads.items()}
        return [_selected(maps[replace(side, head=None)], side.head) for side in sides]

    def maps(
        self, side: Side, *, layers: Sequence[str] = (), heads: Sequence[str] = ()
    ) -> HeadMaps:
        """Return layers and heads of a side's text, or all maps of its file."""
        if isinstance(side.of, Path):
            maps = show_quantity(self._read_file(side.of), self.reading.show)
            return apply_reading(maps, self.reading)
        if side.model not in self._models:
            self._models[side.model] = self._open_model(side.model)
        reading = replace(self.reading, weighting=side.weighting)
        model = self._models[side.model]
        return head_maps(model, side.of, reading, layers=layers, heads=heads, watch=self.watch)


def _names(head: str | None) -> str:
    """Return the names of the heads to compute for a head or a mean."""
    if head is None:
        return "L-1H*"
    return head if "H" in head.upper() else f"{head}H*"


def _selected(maps: HeadMaps, head: str | None) -> HeadMaps:
    """Return the map of a head, or the mean of a layer."""
    if head is None:
        selected = select_from(maps, (), (), mean=True)
    elif (match := HEAD.fullmatch(head)) and match[2] and "*" not in head:
        selected = select_from(maps, (), (head,))
    else:
        selected = select_from(maps, (head[1:].upper().partition("H")[0],), (), mean=True)
    return replace(selected, maps=selected.maps[-1:])
