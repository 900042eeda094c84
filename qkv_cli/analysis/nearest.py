"""Which heads are most like a given one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan

from qkv_cli.analysis.compare import compare
from qkv_cli.views import HeadMap, HeadMaps


@dataclass(frozen=True, slots=True)
class Near:
    """A head, and how near it is to the one it was compared with."""

    map: HeadMap
    divergence: float
    cosine: float
    pearson: float


def nearest(a: HeadMaps, candidates: HeadMaps) -> list[Near]:
    """Each map of the candidates beside a's one, the smallest mean divergence first.

    The very same head of the same reading is left out.
    """
    [own] = a.maps
    same = _reading(a) == _reading(candidates)
    found = []
    for m in candidates.maps:
        if same and (m.block, m.name) == (own.block, own.name):
            continue
        c = compare(a, replace(candidates, maps=[m]))
        found.append(Near(m, c.mean_divergence, c.cosine, c.pearson))
    return sorted(found, key=lambda near: (isnan(near.divergence), near.divergence))


def _reading(maps: HeadMaps) -> tuple[object, ...]:
    return maps.model, maps.weighting, maps.causal, maps.text, maps.source, maps.pair
