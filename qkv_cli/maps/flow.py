"""Contributions (norms of weighted values) and attention rollout."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

import numpy as np

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.attention import AttentionTrace
from qkv_cli.core.block import LayerTrace
from qkv_cli.core.layers import Linear
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps, checked_rows
from qkv_cli.maps.matrix import Matrix, apply_rows, refuse_whole
from qkv_cli.maps.selection import traced_head
from qkv_cli.names import Block


def normed_head(layer: LayerTrace, head: int, block: Block = "self") -> HeadMap:
    """Return the map of `traced_head` with the norm of each key's contribution to each query."""
    m = traced_head(layer, head, block)
    attn = layer.block.cross if layer.is_cross(block) else layer.block.attn
    if attn is None or m.v is None:
        raise ValueError(f"layer {layer.index} has no attention")
    norms = value_norms(m.pattern, m.v, attn.o, head)
    return replace(m, norms=checked_rows(f"{m.name}.norms", norms, m.mask))


def value_norms(pattern: Matrix, v: Array, o: Linear, head: int) -> Matrix:
    """Return || pattern_ij (v_j W_O) ||, [n_query, n_key] (Kobayashi et al. 2020, 2004.10102).

    Args:
        v: The head's values, with bias, [n_key, d_head].
        o: The output projection of all heads, of which the head's rows are used.
    """
    d_head = v.shape[1]
    W_O = o.matrix()[head * d_head : (head + 1) * d_head]
    with np.errstate(over="ignore", invalid="ignore"):  # see `HeadMaps.refuse_not_finite`
        lengths = np.linalg.norm(v @ W_O, axis=1)  # [n_key]
    return apply_rows(lambda weights: _silently(np.multiply, np.abs(weights), lengths), pattern)


def _silently(function: Callable[..., Array], *args: Array) -> Array:
    """Call a function without numpy's warnings; what is not finite is refused later."""
    with np.errstate(over="ignore", invalid="ignore"):
        return function(*args)


NOT_LINEAR = "Rollout does not apply to linear weights: it needs weights that sum to 1."
_TWO_TEXTS = "Rollout does not apply to cross-attention: it follows one text through its layers."


def rollout(pattern: Array, below: Array | None) -> Array:
    """A_l A_(l-1) ... A_0, [n, n], with A = .5 mean(pattern) + .5 I, its rows scaled to sum to 1.

    Args:
        pattern: The mean over a layer's heads, [n, n].
        below: The rollout of the layer below, None for the first layer.
    """
    mixed: Array = 0.5 * pattern + 0.5 * np.eye(len(pattern), dtype=np.float32)
    mixed /= mixed.sum(axis=1, keepdims=True)
    return mixed if below is None else mixed @ below


def reachable(mask: Mask, below: Mask | None) -> Mask:
    """Return from which input tokens information can reach each position, [n, n].

    Args:
        mask: The masks of a layer's heads, [n_heads, n, n].
        below: The result for the layer below, None for the first layer.
    """
    sees: Mask = mask.any(axis=0) | np.eye(mask.shape[1], dtype=np.bool_)
    if below is None or sees.all():
        return sees
    paths: Array = sees.astype(np.float32) @ below.astype(np.float32)
    return paths > 0


def rollouts(
    layers: Iterable[LayerTrace], layer_indices: Collection[int], block: Block
) -> list[HeadMap]:
    """Return the rollout of some layers; the pattern of each map is the mean over its heads.

    Raises:
        UsageError: A layer attends to another text, for which rollout is not defined.
    """
    maps: list[HeadMap] = []
    below, reach = None, None
    for layer in layers:
        if layer.is_cross(block) or layer.attn is None:
            raise UsageError(_TWO_TEXTS)
        pattern = mean_pattern(layer.attn)
        below = rollout(pattern, below)
        reach = reachable(layer.attn.mask(), reach)
        if layer.index in layer_indices:
            maps.append(_map(pattern, below, reach, block, layer.index))
        if layer.index == max(layer_indices):
            break
    return maps


def with_rollout(maps: HeadMaps) -> HeadMaps:
    """Compute the rollout of existing maps, such as those of a file.

    Raises:
        UsageError: A head of a layer is missing.
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
        patterns = np.stack([heads[place].pattern[:] for place in layer_places])
        pattern = patterns.mean(axis=0)
        below = rollout(pattern, below)
        masks = np.stack([heads[place].mask[:] for place in layer_places])
        reach = reachable(masks, reach)
        rollout_maps.append(_map(pattern, below, reach, heads[layer_places[0]].block, index))
    return replace(maps, maps=rollout_maps, shown="rollout")


def mean_pattern(trace: AttentionTrace) -> Array:
    """Return the mean of the patterns of all heads, [n, n].

    Raises:
        UsageError: The text is too long for whole maps.
    """
    if trace.is_kept:
        mean: Array = trace.pattern().mean(axis=0)
        return mean
    n_heads, *shape = trace.shape
    refuse_whole(shape[0], shape[1], "Rollout")
    total = np.zeros(shape, trace.q.dtype)
    for head in range(n_heads):
        total += trace.pattern(slice(head, head + 1))[0]
    return total / np.float32(n_heads)


def _map(pattern: Array, rolled: Array, reach: Mask, block: Block, layer: int) -> HeadMap:
    name = f"L{layer} rollout"
    return HeadMap(
        name=name, block=block, layer=layer, head=None, pattern=pattern, rollout=rolled, mask=reach
    )
