"""What one reading of a text says of its heads: sums over rows, so that readings can be added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from qkv_cli.analysis.kinds import Mask
from qkv_cli.core.arrays import Array
from qkv_cli.views import HeadMap, HeadMaps

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LEAST = np.finfo(np.float64).tiny  # 0 times its logarithm is 0

Figures = TypeVar("Figures", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Sums:
    """Over the rows of words, special tokens left out, that had two keys or more to choose from."""

    rows: Array  # [n_heads], how many
    bits: Array  # [n_heads], entropy
    most_bits: Array  # [n_heads], the entropy of even weights over what each row could see
    distance: Array  # [n_heads], in tokens
    targeted: Array  # [n_heads, n_kinds], rows in which some keys were of the kind and some not
    share: Array  # [n_heads, n_kinds], their weight on keys of the kind
    chance: Array  # [n_heads, n_kinds], the same if each row's weights were dealt at random

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Sums)))


def joined(parts: Sequence[Figures]) -> Figures:
    """The heads of several layers as one: every array of `Sums` or the like, end to end."""
    names = [f.name for f in fields(parts[0])]
    return type(parts[0])(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def measure(maps: HeadMaps, targets: Mask) -> Sums:
    """Sums over one reading, of one layer or of several. Weights must sum to 1 in each row.

    Dealing a row's weights at random over the keys that it sees makes a random pattern of equal
    entropy; what it is expected to give to keys of a kind is the part of the keys that they are.

    Args:
        targets: [n_kinds, n_query, n_key], see `kinds.targets`.
    """
    visible = visible_keys(maps)
    if (visible != visible[0]).any():
        return joined([measure(replace(maps, maps=part), targets) for part in _smaller(maps.maps)])
    seen = visible[0]  # [n_query, n_key], the same for all heads
    n_seen = seen.sum(axis=-1)
    counted = (n_seen > 1) & [not query.special for query in maps.queries]
    wanted = targets & seen
    of_kind = wanted.sum(axis=-1)  # [n_kinds, n_query]
    some = counted & (of_kind > 0) & (of_kind < n_seen)
    weights = patterns(maps) * counted[:, None]
    cells = weights.reshape(len(weights), -1)  # [n_heads, n_query * n_key]
    heads = np.ones(len(weights))
    return Sums(
        rows=heads * counted.sum(),
        bits=entropy(cells),
        most_bits=heads * np.log2(n_seen[counted]).sum(),
        distance=cells @ distances(maps).ravel(),
        targeted=np.outer(heads, some.sum(axis=-1)),
        share=cells @ (wanted & some[..., None]).reshape(len(wanted), -1).T.astype(np.float64),
        chance=np.outer(heads, (some * of_kind / np.maximum(n_seen, 1)).sum(axis=-1)),
    )


def _smaller(maps: Sequence[HeadMap]) -> list[list[HeadMap]]:
    """Layer by layer; one layer, head by head."""
    layers = dict.fromkeys(m.layer for m in maps)
    if len(layers) == 1:
        return [[m] for m in maps]
    return [[m for m in maps if m.layer == layer] for layer in layers]


def patterns(maps: HeadMaps) -> Array:
    """[n_heads, n_query, n_key], in double precision."""
    return np.stack([m.pattern for m in maps.maps]).astype(np.float64)


def visible_keys(maps: HeadMaps) -> Mask:
    """Which keys each query can see, [n_heads, n_query, n_key]."""
    return np.stack([m.mask for m in maps.maps])


def entropy(weights: Array) -> Array:
    """Shannon entropy in bits over the last axis; 0 log 0 is 0."""
    logs = np.log2(np.maximum(weights, LEAST))
    found: Array = -(weights * logs).sum(axis=-1)
    return found


def one_text(maps: HeadMaps) -> bool:
    """Whether a text attends to itself, so that there is a before and a self."""
    return maps.maps[0].block != "cross"


def distances(maps: HeadMaps) -> Array:
    """How many tokens from query to key, [n_query, n_key]; nan between two texts."""
    if not one_text(maps):
        return np.full((len(maps.queries), len(maps.keys)), np.nan)
    place = np.arange(len(maps.queries), dtype=np.float64)
    return np.abs(place[:, None] - place)
