"""A transformer layer: attention, MLP, norms, residual connections, and ablation of heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from qkv_cli.core.activations import Activation
from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.attention import (
    AttentionTrace,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)
from qkv_cli.core.layers import (
    MLP,
    SSRU,
    Buckets,
    Experts,
    Linear,
    Norm,
    normed,
    together,
)
from qkv_cli.core.positions import Disentangled, Rotary
from qkv_cli.names import StackName, Weighting


@dataclass(frozen=True, slots=True)
class Ablation:
    """Which heads hand nothing to W_O. They look where they look; all behind them is computed anew.

    Attributes:
        stack: encoder or decoder.
        cross: Whether they are heads of its cross-attention.
        heads: By layer.
        mean: Whether each leaves its mean over the places of the text, not zeros.
    """

    stack: str
    cross: bool
    heads: Mapping[int, Sequence[int]]
    mean: bool = False

    def __call__(self, z: Array, stack: str, layer: int, *, cross: bool) -> Array:
        """What is left of z, [n_heads, n_query, d_head], of one attention."""
        heads = self.heads.get(layer, ()) if (stack, cross) == (self.stack, self.cross) else ()
        if not heads:
            return z
        ablated_z, heads_to_ablate = (
            z.copy(order="K"),
            list(heads),
        )  # as it lies, to add up in the same order
        ablated_z[heads_to_ablate] = (
            z[heads_to_ablate].mean(axis=1, keepdims=True) if self.mean else 0
        )
        return ablated_z


@dataclass(frozen=True, slots=True)
class Convolution:
    W: Array  # [n_taps, d_in, d_out], an odd number of taps, the token itself in the middle
    b: Array  # [d_out]
    act: Activation

    def __call__(self, x: Array) -> Array:
        """[n_pos, d_in] -> [n_pos, d_out]; beyond the ends of the text there are zeros."""
        n_pos, reach = len(x), len(self.W) // 2
        padded = np.pad(x, ((reach, reach), (0, 0)))
        taps = (padded[i : i + n_pos] @ w for i, w in enumerate(self.W))
        return self.act(sum(taps, start=self.b))


@dataclass(frozen=True, slots=True)
class Attention:
    q: Linear  # [d_model, n_heads * d_head]
    k: Linear  # [d_model, n_kv_heads * d_head]
    v: Linear
    o: Linear  # [n_heads * d_head, d_model]
    d_head: int
    scale: float
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    rotary: Rotary | None = None
    softcap: float | None = None
    relative: Disentangled | None = None  # position terms that q and k have a part in

    def __call__(
        self,
        x: Array,
        memory: Array,
        bias: Array | None,
        weighting: Weighting,
        before: AttentionTrace | None = None,
        left: Callable[[Array], Array] | None = None,
        mask: Mask | None = None,
    ) -> tuple[Array, AttentionTrace]:
        """Attend from x, [n_query, d_model], to memory, [n_key, d_model].

        Args:
            bias, mask: See `scaled_dot_product_attention`.
            before: Whose keys and values stand before those of `memory`.
            left: What W_O is given of z, if not all.
        """
        q, k, v = together((self.q, x), (self.k, memory), (self.v, memory))
        q, k = self._heads(q, self.q_norm), self._heads(k, self.k_norm)
        v = split_heads(v, self.d_head)
        if before is not None:
            k, v = np.concatenate([before.k, k], axis=1), np.concatenate([before.v, v], axis=1)
        if self.relative is not None:
            added = q.dtype.type(self.scale) * self.relative(q, k)
            bias = added if bias is None else added + bias
        trace = scaled_dot_product_attention(
            q,
            k,
            v,
            scale=self.scale,
            bias=bias,
            mask=mask,
            softcap=self.softcap,
            weighting=weighting,
        )
        return self.o(merge_heads(trace.z if left is None else left(trace.z))), trace

    @property
    def n_heads(self) -> int:
        return int(self.q.W.shape[1]) // self.d_head

    def _heads(self, x: Array, norm: Norm | None) -> Array:
        # A norm is per head (Qwen 3), a weight for each (StableLM), or over all heads at once
        # (OLMo 2): its width says which.
        if norm is not None and norm.w is not None and norm.w.shape[-1] != self.d_head:
            x, norm = norm(x), None
        heads = split_heads(x, self.d_head)
        heads = heads if norm is None else norm(heads)
        return heads if self.rotary is None else self.rotary(heads)


@dataclass(frozen=True, slots=True)
class Norms:
    """Every place where a block may normalise: what goes in, what comes out, or the sum."""

    attn_in: Norm | None = None
    attn_out: Norm | None = None
    resid_mid: Norm | None = None
    cross_in: Norm | None = None
    cross_out: Norm | None = None  # of the sum after cross-attention
    mlp_in: Norm | None = None
    mlp_out: Norm | None = None
    resid_post: Norm | None = None
    convolved: Norm | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A layer. One that reads only another text has no self-attention."""

    attn: Attention | None = None
    cross: Attention | None = None
    recurrent: SSRU | None = None  # in place of self-attention
    convolution: Convolution | None = None  # of resid_pre, beside all the rest
    mlp: MLP | Experts | None = None
    norms: Norms = Norms()
    parallel: bool = False  # the MLP reads resid_pre beside attention, not what attention left
    window: int | None = None  # how far self-attention reaches
    buckets: Buckets | None = None  # of this layer alone
    resid_scale: float = 1.0  # of what attention and MLP add

    @property
    def n_bytes(self) -> int:
        """Of its matrices, as float32; of experts, one."""
        parts = [self.attn, self.cross]
        linears = [x for a in parts if a is not None for x in (a.q, a.k, a.v, a.o)]
        mlp = next(self.mlp.each(), None) if isinstance(self.mlp, Experts) else self.mlp
        if mlp is not None:
            linears += [x for x in (mlp.up, mlp.down, mlp.gate) if x is not None]
        if self.attn is not None and (relative := self.attn.relative) is not None:
            linears += [x for x in (relative.q, relative.k) if x is not None]
        convolved = 0 if self.convolution is None else self.convolution.W.size
        distinct = {id(linear): linear.W.size for linear in linears}
        return 4 * (sum(distinct.values()) + convolved)


@dataclass(frozen=True, slots=True)
class Blocks(Sequence[Block]):
    """Layers that are made when they are wanted, so that one at a time lies in memory."""

    n_layers: int
    make: Callable[[int], Block]

    def __len__(self) -> int:
        return self.n_layers

    def __getitem__(self, i: Any) -> Any:
        if not -self.n_layers <= i < self.n_layers:
            raise IndexError(i)
        return self.make(i % self.n_layers)

    def __iter__(self) -> Iterator[Block]:
        # An IndexError in the making of a layer is no end of the layers.
        return map(self.make, range(self.n_layers))


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """What one block computed, and what went into it."""

    stack: StackName
    index: int
    resid_pre: Array  # [n_pos, d_model]
    resid_mid: Array  # [n_pos, d_model], after attention
    resid_post: Array  # [n_pos, d_model], after the MLP
    attn_in: Array  # [n_pos, d_model], what self-attention read
    cross_in: Array | None  # [n_pos, d_model], what cross-attention's queries were made of
    memory: Array | None  # [n_key, d_model], what cross-attention read
    attn: AttentionTrace | None
    cross: AttentionTrace | None
    block: Block  # what computed it


def run_block(
    block: Block,
    name: StackName,
    index: int,
    resid_pre: Array,
    bias: Array | None,
    mask: Mask | None,
    memory: Array | None,
    weighting: Weighting,
    before: LayerTrace | None = None,
    ablation: Ablation | None = None,
) -> LayerTrace:
    """One layer.

    Args:
        bias, mask: Of self-attention; cross-attention sees every key.
        before: Of the tokens before these, where they were run by themselves.
    """

    def left(cross: bool) -> Callable[[Array], Array] | None:
        if ablation is None:
            return None
        return partial(ablation, stack=name, layer=index, cross=cross)

    norms, scale = block.norms, np.float32(block.resid_scale)
    resid, attn, cross, cross_in = resid_pre, None, None, None
    attn_in = normed(norms.attn_in, resid_pre)
    if block.attn is not None:
        known = None if before is None else before.attn
        attn_out, attn = block.attn(attn_in, attn_in, bias, weighting, known, left(False), mask)
        resid = normed(norms.resid_mid, resid + scale * normed(norms.attn_out, attn_out))
    if block.recurrent is not None:
        resid = normed(norms.resid_mid, resid + block.recurrent(attn_in))
    if block.cross is not None and memory is not None:
        cross_in = normed(norms.cross_in, resid)
        known = None if before is None else before.cross
        new = memory if known is None else memory[:0]
        cross_out, cross = block.cross(cross_in, new, None, weighting, known, left(True))
        resid = normed(norms.cross_out, resid + cross_out)
    resid_mid = resid
    if block.mlp is not None:
        mlp_out = block.mlp(normed(norms.mlp_in, resid_pre if block.parallel else resid_mid))
        resid = normed(norms.resid_post, resid_mid + scale * normed(norms.mlp_out, mlp_out))
    if block.convolution is not None:
        resid = normed(norms.convolved, resid + block.convolution(resid_pre))
    return LayerTrace(
        name, index, resid_pre, resid_mid, resid, attn_in, cross_in, memory, attn, cross, block
    )
