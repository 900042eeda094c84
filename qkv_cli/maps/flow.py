"""Contributions (norms of weighted values) and attention rollout."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.block import LayerTrace
from qkv_cli.core.layers import Linear
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps, traced_head
from qkv_cli.names import Block


def normed_head(layer: LayerTrace, head: int, block: Block | None = None) -> HeadMap:
    """The map of `traced_head`, with the length of what each key hands to each query."""
    m = traced_head(layer, head, block)
    attn = layer.block.attn if layer.cross is None else layer.block.cross
    if attn is None or m.v is None:
        raise ValueError(f"layer {layer.index} has no attention")
    return replace(m, norms=value_norms(m.pattern, m.v, attn.o, head))


def value_norms(pattern: Array, v: Array, o: Linear, head: int) -> Array:
    """|| pattern_ij (v_j W_O) ||, [n_query, n_key].

    Args:
        v: The values that this head blends, bias and all, [n_key, d_head].
        o: Of all heads; the rows of W_O that are this head's are taken.
    """
    d_head = v.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):  # see `HeadMaps.refuse_not_finite`
        lengths = np.linalg.norm(v @ o.W[head * d_head : (head + 1) * d_head], axis=1)  # [n_key]
        norms: Array = np.abs(pattern) * lengths
    return norms


NOT_LINEAR = "Rollout does not apply to linear weights: it needs weights that sum to 1."
_TWO_TEXTS = "Rollout does not apply to cross-attention: it follows one text through its layers."


def rollout(patterns: Array, below: Array | None) -> Array:
    """A_l A_(l-1) ... A_0, [n, n], with A = .5 mean(pattern) + .5 I, its rows scaled to sum to 1.

    Args:
        patterns: Of a layer's heads, [n_heads, n, n].
        below: The rollout of the layer below, if there is one.
    """
    mixed: Array = 0.5 * patterns.mean(axis=0) + 0.5 * np.eye(patterns.shape[1], dtype=np.float32)
    mixed /= mixed.sum(axis=1, keepdims=True)
    return mixed if below is None else mixed @ below


def reached(mask: Mask, below: Mask | None) -> Mask:
    """[n, n]: which tokens of the input can have a part in each token, itself always.

    Args:
        mask: What a layer's heads see, [n_heads, n, n].
        below: The same of the layer below, if there is one.
    """
    sees: Mask = mask.any(axis=0) | np.eye(mask.shape[1], dtype=np.bool_)
    if below is None or sees.all():
        return sees
    paths: Array = sees.astype(np.float32) @ below.astype(np.float32)
    return paths > 0


def rollouts(
    layers: Iterable[LayerTrace], layer_indices: Collection[int], block: Block
) -> list[HeadMap]:
    """A map for each layer that is wanted; its pattern is the mean of all its heads.

    Raises:
        UsageError: A layer looks at another text, so that nothing can be followed further down.
    """
    maps: list[HeadMap] = []
    below, reach = None, None
    for layer in layers:
        if layer.cross is not None or layer.attn is None:
            raise UsageError(_TWO_TEXTS)
        below = rollout(layer.attn.pattern, below)
        reach = reached(layer.attn.mask, reach)
        if layer.index in layer_indices:
            maps.append(_map(layer.attn.pattern, below, reach, block, layer.index))
        if layer.index == max(layer_indices):
            break
    return maps


def followed(maps: HeadMaps) -> HeadMaps:
    """The rollout of maps that are there, such as a file's.

    Raises:
        UsageError: Some head of some layer is not.
    """
    heads = {(m.layer, m.head): m for m in maps.maps}
    n_layers, n_heads = max(m.layer for m in maps.maps) + 1, maps.model.n_heads
    if maps.source is not None:
        raise UsageError(_TWO_TEXTS)
    if maps.weighting == "linear":
        raise UsageError(NOT_LINEAR)
    places = [[(layer, head) for head in range(n_heads)] for layer in range(n_layers)]
    if missing := [place for layer in places for place in layer if place not in heads]:
        layer, head = missing[0]
        raise UsageError(f"Rollout needs every head from layer 0 on; L{layer}H{head} is missing.")
    rollout_maps: list[HeadMap] = []
    below, reach = None, None
    for index, layer_places in enumerate(places):
        patterns = np.stack([heads[place].pattern for place in layer_places])
        below = rollout(patterns, below)
        reach = reached(np.stack([heads[place].mask for place in layer_places]), reach)
        rollout_maps.append(_map(patterns, below, reach, heads[layer_places[0]].block, index))
    return replace(maps, maps=rollout_maps, shown="rollout")


def _map(patterns: Array, rolled: Array, reach: Mask, block: Block, layer: int) -> HeadMap:
    name, pattern = f"L{layer} rollout", patterns.mean(axis=0)
    return HeadMap(name, block, layer, None, pattern, rollout=rolled, mask=reach)
