"""Attention traces and layers from arrays, for tests without a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.attention import AttentionTrace
from qkv_cli.core.block import Block, LayerTrace
from qkv_cli.names import Weighting

if TYPE_CHECKING:
    from qkv_cli.core.block import Attention


@dataclass(frozen=True)
class FixedBias:
    values: Array  # [1 or n_heads, n_query, n_key]
    visible: Mask | None = None

    def block(self, heads: slice, rows: slice) -> Array:
        return (self.values if len(self.values) == 1 else self.values[heads])[:, rows]

    def mask(self, heads: slice, rows: slice) -> Mask:
        visible = ~np.isneginf(self.values) if self.visible is None else self.visible
        return (visible if len(visible) == 1 else visible[heads])[:, rows]

    def of_head(self, head: int) -> FixedBias:
        visible = self.mask(slice(head, head + 1), slice(None))
        return FixedBias(self.block(slice(head, head + 1), slice(None)), visible)

    def largest(self) -> float:
        visible = np.broadcast_to(self.mask(slice(None), slice(None)), self.values.shape)
        return float(np.abs(self.values[visible]).max(initial=0))


def trace_of(
    q: Array,
    k: Array,
    v: Array,
    *,
    scale: float = 1.0,
    bias: Array | None = None,
    visible: Mask | None = None,
    softcap: float | None = None,
    weighting: Weighting = "softmax",
) -> AttentionTrace:
    """Attention from arrays."""
    return AttentionTrace(
        q=q,
        k=k,
        v=v,
        scale=scale,
        weighting=weighting,
        bias=None if bias is None else FixedBias(bias, visible),
        softcap=softcap,
    )


def with_maps(trace: AttentionTrace, scores: Array, pattern: Array) -> AttentionTrace:
    """A trace that has these maps, whatever its queries and keys."""
    copy = replace(trace)
    copy.__dict__["_kept"] = (scores, pattern, trace.z)
    return copy


def layer_of(
    index: int, attn: AttentionTrace | None, cross: AttentionTrace | None = None
) -> LayerTrace:
    """A layer with given attention; nothing else of it can be computed."""
    resid = np.zeros((1, 2))
    part = cast("Attention", None if attn is None else object())
    cross_part = cast("Attention", None if cross is None else object())
    layer = LayerTrace(
        block=Block(attn=part, cross=cross_part),
        stack="encoder",
        index=index,
        resid_pre=resid,
        bias=None,
        memory=None if cross is None else resid,
        weighting="softmax",
    )
    layer.__dict__.update(attn=attn, cross=cross)
    return layer
