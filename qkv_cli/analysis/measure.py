"""What one reading of a text says of its heads: sums over rows, so that readings can be added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from qkv_cli.analysis.kinds import Mask
from qkv_cli.core.arrays import Array
from qkv_cli.views import HeadMaps

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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
    """Sums over one reading.

    Dealing a row's weights at random over the keys that it sees makes a random pattern of equal
    entropy; what it is expected to give to keys of a kind is the part of the keys that they are.

    Args:
        targets: [n_kinds, n_query, n_key], see `kinds.targets`.
    """
    pattern, visible = patterns(maps), visible_keys(maps)
    words = [not query.special for query in maps.queries]
    n_seen = visible.sum(axis=-1)  # [n_heads, n_query]
    counted = (n_seen > 1) & words & (pattern.sum(axis=-1) > 0)
    weight = np.where(counted[..., None], pattern, 0.0)
    wanted = targets.astype(np.float64)
    of_kind = np.einsum("hqk,tqk->htq", visible.astype(np.float64), wanted)
    some = counted[:, None] & (of_kind > 0) & (of_kind < n_seen[:, None])
    share = np.einsum("hqk,tqk->htq", weight, wanted)
    even = of_kind / np.maximum(n_seen, 1)[:, None]
    total = weight.sum(axis=-1)[:, None]
    return Sums(
        rows=counted.sum(axis=-1),
        bits=entropy(weight).sum(axis=-1),
        most_bits=(np.log2(np.maximum(n_seen, 1)) * counted).sum(axis=-1),
        distance=(weight * distances(maps)).sum(axis=(-1, -2)),
        targeted=some.sum(axis=-1),
        share=(share * some).sum(axis=-1),
        chance=(total * even * some).sum(axis=-1),
    )


def patterns(maps: HeadMaps) -> Array:
    """[n_heads, n_query, n_key], in double precision."""
    return np.stack([m.pattern for m in maps.maps]).astype(np.float64)


def visible_keys(maps: HeadMaps) -> Mask:
    """Which keys each query may look at, [n_heads, n_query, n_key]."""
    shape = (len(maps.queries), len(maps.keys))
    free = np.zeros(shape)  # scores that are not kept hide nothing
    return np.stack([~np.isneginf(free if m.scores is None else m.scores) for m in maps.maps])


def entropy(weights: Array) -> Array:
    """Shannon entropy in bits over the last axis; 0 log 0 is 0."""
    logs = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)
    found: Array = -(weights * logs).sum(axis=-1)
    return found


def distances(maps: HeadMaps) -> Array:
    """How many tokens from query to key, [n_query, n_key]; nan between two texts."""
    if maps.source is not None:
        return np.full((len(maps.queries), len(maps.keys)), np.nan)
    place = np.arange(len(maps.queries), dtype=np.float64)
    return np.abs(place[:, None] - place)
