"""One transformer, described by its weights.

An architecture differs from another in data, never in a branch on its name:
a norm that is absent is None, a mask is a bias, a tied weight is the same array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.core.attention import (
    AttentionTrace,
    Weighting,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)
from qkv_cli.core.positions import causal_bias, offset_bias

StackName = Literal["encoder", "decoder"]


@dataclass(frozen=True, slots=True)
class Linear:
    W: Array  # [d_in, d_out]
    b: Array | None  # [d_out]

    def __call__(self, x: Array) -> Array:
        y = x @ self.W
        return y if self.b is None else y + self.b


@dataclass(frozen=True, slots=True)
class Norm:
    """LayerNorm, or RMSNorm when not centred; w is 1 where absent."""

    w: Array | None  # [d_model]
    b: Array | None  # [d_model]
    eps: float
    centred: bool

    def __call__(self, x: Array) -> Array:
        if self.centred:
            x = x - x.mean(axis=-1, keepdims=True)
        y: Array = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + self.eps)
        if self.w is not None:
            y = self.w * y
        return y if self.b is None else y + self.b


@dataclass(frozen=True, slots=True)
class Embedding:
    """Token vectors. The table may be memory-mapped: only the rows asked for are read."""

    table: NDArray[Any]  # [d_vocab, d_model], float, or int8 with a scale per row
    row_scale: Array | None = None  # [d_vocab]
    mean: Array | None = None  # [d_model], taken from every row

    def __call__(self, ids: Sequence[int]) -> Array:
        """[n_pos, d_model], float32."""
        rows = np.asarray(ids, dtype=np.intp)
        x: Array = np.asarray(self.table[rows], dtype=np.float32)
        if self.row_scale is not None:
            x = x * np.asarray(self.row_scale[rows], dtype=np.float32)[:, None]
        return x if self.mean is None else x - self.mean


@dataclass(frozen=True, slots=True)
class Attention:
    q: Linear  # [d_model, n_heads * d_head]
    k: Linear  # [d_model, n_kv_heads * d_head]
    v: Linear
    o: Linear  # [n_heads * d_head, d_model]
    d_head: int
    scale: float

    def __call__(
        self, x: Array, memory: Array, bias: Array | None, weighting: Weighting
    ) -> tuple[Array, AttentionTrace]:
        """Attend from x, [n_query, d_model], to memory, [n_key, d_model]."""
        trace = scaled_dot_product_attention(
            split_heads(self.q(x), self.d_head),
            split_heads(self.k(memory), self.d_head),
            split_heads(self.v(memory), self.d_head),
            scale=self.scale,
            bias=bias,
            weighting=weighting,
        )
        return self.o(merge_heads(trace.z)), trace

    @property
    def n_heads(self) -> int:
        return int(self.q.W.shape[1]) // self.d_head


@dataclass(frozen=True, slots=True)
class Block:
    """A layer. One that reads only another text has no self-attention."""

    attn: Attention | None = None
    cross: Attention | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """An encoder or a decoder."""

    blocks: Sequence[Block]
    causal: bool = False
    offsets: Array | None = None  # [2 * clip + 1, n_heads], see `offset_bias`

    def bias(self, n: int, *, causal: bool) -> Array | None:
        """[1 or n_heads, n, n]: everything added to self-attention scores."""
        total = None if self.offsets is None else offset_bias(self.offsets, n)
        if not (causal or self.causal):
            return total
        return causal_bias(n) if total is None else total + causal_bias(n)


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """What one block computed, and what went into it."""

    stack: StackName
    index: int
    resid_pre: Array  # [n_pos, d_model]
    resid_post: Array  # [n_pos, d_model]
    memory: Array | None  # [n_key, d_model], what cross-attention read
    attn: AttentionTrace | None
    cross: AttentionTrace | None


@dataclass(frozen=True, slots=True)
class Model:
    embed: Embedding
    stacks: Mapping[StackName, Stack]  # in the order they run
    embed_norm: Norm | None = None
    between_texts: Model | None = None  # how the same heads read a second text, if they can

    def layers(
        self,
        ids: Sequence[int],
        decoder_ids: Sequence[int] = (),
        *,
        weighting: Weighting = "softmax",
        causal: bool = False,
    ) -> Iterator[LayerTrace]:
        """Yield each layer as it is computed.

        A caller that stops early never pays for the layers it did not look at,
        and one that keeps nothing holds a single layer in memory. `causal` masks
        what is to the right of a query also where the model would look there.
        """
        memory = None
        for (name, stack), tokens in zip(self.stacks.items(), (ids, decoder_ids), strict=False):
            resid = self._embed(tokens)
            bias = stack.bias(len(tokens), causal=causal)
            for index, block in enumerate(stack.blocks):
                yield (layer := _run_block(block, name, index, resid, bias, memory, weighting))
                resid = layer.resid_post
            memory = resid

    def _embed(self, ids: Sequence[int]) -> Array:
        x = self.embed(ids)
        return x if self.embed_norm is None else self.embed_norm(x)


def _run_block(
    block: Block,
    name: StackName,
    index: int,
    resid_pre: Array,
    bias: Array | None,
    memory: Array | None,
    weighting: Weighting,
) -> LayerTrace:
    resid, attn, cross = resid_pre, None, None
    if block.attn is not None:
        attn_out, attn = block.attn(resid, resid, bias, weighting)
        resid = resid + attn_out
    if block.cross is not None and memory is not None:
        cross_out, cross = block.cross(resid, memory, None, weighting)
        resid = resid + cross_out
    return LayerTrace(name, index, resid_pre, resid, memory, attn, cross)
