"""The strongest link among those that may be chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qkv_cli.core.blocks import LayerTrace


@dataclass(frozen=True, slots=True)
class Link:
    """A query that looks at a key in a head, and the layer it does so in."""

    layer: LayerTrace
    head: int
    query: int
    key: int


def strongest(
    layers: Iterable[LayerTrace],
    heads: Mapping[int, Sequence[int]],
    queries: Sequence[int],
    keys: Sequence[int],
) -> Link:
    """The link with the largest weight; the better score decides between equal weights
    (under hard indexing most are 0), then the order: first layer, head, query, key.

    Args:
        heads: Which heads of which layers may be chosen; layers behind the last are not computed.
        queries: Which tokens may look.
        keys: Which may be looked at.
    """
    best, found = (-np.inf, -np.inf), None
    last = max(heads)
    for layer in layers:
        trace = layer.cross if layer.cross is not None else layer.attn
        if trace is not None:
            for head in heads.get(layer.index, ()):
                pattern = trace.pattern[head][np.ix_(queries, keys)].ravel()
                scores = trace.scores[head][np.ix_(queries, keys)].ravel()
                at = int(np.lexsort((-scores, -pattern))[0])  # sorts by its last key first
                here = (float(pattern[at]), float(scores[at]))
                if found is None or here > best:
                    i, j = divmod(at, len(keys))
                    best, found = here, Link(layer, head, queries[i], keys[j])
        if layer.index == last:
            break
    if found is None:
        raise ValueError(f"no attention in layers up to {last}")
    return found
