"""A transformer layer: attention, MLP, norms, residual connections, and ablation of heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from qkv_cli.core.activations import Activation
from qkv_cli.core.arrays import Array
from qkv_cli.core.attention import AttentionTrace, Bias, merge_heads, split_heads
from qkv_cli.core.layers import (
    MLP,
    SSRU,
    Buckets,
    Experts,
    Linear,
    Norm,
    apply_linears,
    apply_norm,
)
from qkv_cli.core.positions import Disentangled, Rotary
from qkv_cli.names import Block as BlockName
from qkv_cli.names import StackName, Weighting


@dataclass(frozen=True, slots=True)
class Ablation:
    """Heads to ablate: their output is replaced before W_O, and later layers are recomputed.

    Attributes:
        stack: encoder or decoder.
        cross: Whether they are heads of the stack's cross-attention.
        heads: The heads of each layer.
        mean: Replace z by its mean over the positions of the text, not by zeros.
    """

    stack: str
    cross: bool
    heads: Mapping[int, Sequence[int]]
    mean: bool = False

    def __call__(self, z: Array, stack: str, layer: int, *, cross: bool) -> Array:
        """Return z, [n_heads, n_query, d_head], of one attention after the ablation."""
        heads = self.heads.get(layer, ()) if (stack, cross) == (self.stack, self.cross) else ()
        if not heads:
            return z
        heads_to_ablate = list(heads)
        ablated_z = z.copy(order="K")  # in the same memory layout, for the same sums
        ablated_z[heads_to_ablate] = (
            z[heads_to_ablate].mean(axis=1, keepdims=True) if self.mean else 0
        )
        return ablated_z


@dataclass(frozen=True, slots=True)
class Convolution:
    W: Array  # [n_taps, d_in, d_out], an odd number of taps, centred on the token
    b: Array  # [d_out]
    act: Activation

    def __call__(self, x: Array) -> Array:
        """[n_pos, d_in] -> [n_pos, d_out], with zeros beyond both ends of the text."""
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
    relative: Disentangled | None = None  # position terms that depend on q and k

    def trace(
        self,
        x: Array,
        kv_input: Array,
        bias: Bias | None,
        weighting: Weighting,
        cache: AttentionTrace | None = None,
    ) -> AttentionTrace:
        """Attend from x, [n_query, d_model], to kv_input, [n_key, d_model], which is x or a text.

        Args:
            bias: See `AttentionTrace`.
            cache: The attention of earlier tokens, whose keys and values come first.
        """
        q, k, v = apply_linears((self.q, x), (self.k, kv_input), (self.v, kv_input))
        q, k = self._split_normed_heads(q, self.q_norm), self._split_normed_heads(k, self.k_norm)
        v = split_heads(v, self.d_head)
        if cache is not None:
            k, v = np.concatenate([cache.k, k], axis=1), np.concatenate([cache.v, v], axis=1)
        return AttentionTrace(
            q=q,
            k=k,
            v=v,
            scale=self.scale,
            weighting=weighting,
            bias=bias,
            relative=None if self.relative is None else self.relative.of(q, k),
            softcap=self.softcap,
        )

    @property
    def n_heads(self) -> int:
        return self.q.d_out // self.d_head

    def _split_normed_heads(self, x: Array, norm: Norm | None) -> Array:
        # A norm is shared by all heads (Qwen 3), has a weight per head (StableLM), or normalizes
        # all heads together (OLMo 2); its width tells which.
        if norm is not None and norm.w is not None and norm.w.shape[-1] != self.d_head:
            x, norm = norm(x), None
        heads = split_heads(x, self.d_head)
        heads = heads if norm is None else norm(heads)
        return heads if self.rotary is None else self.rotary(heads)


@dataclass(frozen=True, slots=True)
class Norms:
    """The norms of a block: of a sub-layer's input, its output, or the sum with the residual."""

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
    """A layer. `attn` is None in a layer that has only cross-attention."""

    attn: Attention | None = None
    cross: Attention | None = None
    recurrent: SSRU | None = None  # instead of self-attention
    convolution: Convolution | None = None  # of resid_pre, added to the other outputs
    mlp: MLP | Experts | None = None
    norms: Norms = Norms()
    parallel: bool = False  # the MLP reads resid_pre, in parallel with attention
    # In a causal stack, the number of keys that a query sees, including itself; in others, how far
    # it sees to either side.
    window: int | None = None
    buckets: Buckets | None = None  # of this layer alone
    resid_scale: float = 1.0  # the factor of what attention and MLP add

    @property
    def reads_all_tokens(self) -> bool:
        """Whether a token's output needs more of earlier tokens than their keys and values."""
        attn = self.attn
        is_relative = attn is not None and (attn.rotary or attn.relative) is not None
        return is_relative or self.recurrent is not None or self.convolution is not None


@dataclass(frozen=True, slots=True)
class Blocks(Sequence[Block]):
    """Layers that are built when they are requested, so only one at a time is in memory."""

    n_layers: int
    make: Callable[[int], Block]

    def __len__(self) -> int:
        return self.n_layers

    def __getitem__(self, i: Any) -> Any:
        if not -self.n_layers <= i < self.n_layers:
            raise IndexError(i)
        return self.make(i % self.n_layers)

    def __iter__(self) -> Iterator[Block]:
        # An IndexError raised while a layer is built must not end the iteration.
        return map(self.make, range(self.n_layers))


@dataclass(frozen=True, kw_only=True)
class LayerTrace:
    """The inputs and outputs of one block; what is not read is not computed.

    Attributes:
        block: The layer itself.
        bias: Of self-attention; in cross-attention every key is visible.
        memory: The input of cross-attention's keys and values, [n_key, d_model].
        attn_cache, cross_cache: The attention of the previous step, with the keys and values of all
            earlier tokens.
    """

    block: Block
    stack: StackName
    index: int
    resid_pre: Array  # [n_pos, d_model]
    bias: Bias | None
    memory: Array | None
    weighting: Weighting
    attn_cache: AttentionTrace | None = None
    cross_cache: AttentionTrace | None = None
    ablation: Ablation | None = None

    @cached_property
    def attn_in(self) -> Array:
        """The input of self-attention, [n_pos, d_model]."""
        return apply_norm(self.block.norms.attn_in, self.resid_pre)

    @cached_property
    def attn(self) -> AttentionTrace | None:
        """Self-attention, if the block has it."""
        if self.block.attn is None:
            return None
        x = self.attn_in
        return self.block.attn.trace(x, x, self.bias, self.weighting, self.attn_cache)

    @property
    def has_cross(self) -> bool:
        """Whether the block attends to another text."""
        return self.block.cross is not None and self.memory is not None

    @cached_property
    def cross_in(self) -> Array | None:
        """The input of cross-attention's queries, [n_pos, d_model]."""
        return apply_norm(self.block.norms.cross_in, self._resid_attn) if self.has_cross else None

    @cached_property
    def cross(self) -> AttentionTrace | None:
        """Cross-attention, if the block attends to another text."""
        if self.block.cross is None or self.memory is None or self.cross_in is None:
            return None
        cache = self.cross_cache
        kv_input = self.memory if cache is None else self.memory[:0]
        return self.block.cross.trace(self.cross_in, kv_input, None, self.weighting, cache)

    def is_cross(self, name: BlockName) -> bool:
        """Whether a block's name stands for cross-attention; "self" does in a layer that has it."""
        return self.has_cross and (name in ("self", "cross") or self.block.attn is None)

    def attention(self, name: BlockName) -> AttentionTrace:
        """Return the attention that a block's name stands for.

        Raises:
            ValueError: The layer does not have it.
        """
        trace = self.cross if self.is_cross(name) else self.attn
        if trace is None:
            raise ValueError(f"layer {self.index} has no attention")
        return trace

    @cached_property
    def _resid_attn(self) -> Array:
        """The residual stream after self-attention or recurrence, [n_pos, d_model]."""
        norms, resid = self.block.norms, self.resid_pre
        if self.block.attn is not None and self.attn is not None:
            attn_out = self._attn_out(self.block.attn, self.attn, cross=False)
            attn_out = apply_norm(norms.attn_out, attn_out)
            resid = apply_norm(norms.resid_mid, resid + self._scale * attn_out)
        if self.block.recurrent is not None:
            resid = apply_norm(norms.resid_mid, resid + self.block.recurrent(self.attn_in))
        return resid

    @cached_property
    def resid_mid(self) -> Array:
        """The residual stream after self-attention and cross-attention, [n_pos, d_model]."""
        resid = self._resid_attn
        if self.block.cross is not None and self.cross is not None:
            cross_out = self._attn_out(self.block.cross, self.cross, cross=True)
            resid = apply_norm(self.block.norms.cross_out, resid + cross_out)
        return resid

    @cached_property
    def resid_post(self) -> Array:
        """The residual stream after the MLP, [n_pos, d_model]."""
        block, norms, resid = self.block, self.block.norms, self.resid_mid
        if block.mlp is not None:
            mlp_in = self.resid_pre if block.parallel else self.resid_mid
            mlp_out = apply_norm(norms.mlp_out, block.mlp(apply_norm(norms.mlp_in, mlp_in)))
            resid = apply_norm(norms.resid_post, resid + self._scale * mlp_out)
        if block.convolution is not None:
            resid = apply_norm(norms.convolved, resid + block.convolution(self.resid_pre))
        return resid

    @property
    def _scale(self) -> np.float32:
        return np.float32(self.block.resid_scale)

    def _attn_out(self, attn: Attention, trace: AttentionTrace, *, cross: bool) -> Array:
        """Return concat(z) @ W_O + b_O, [n_pos, d_model], after ablation."""
        z = trace.z
        if self.ablation is not None:
            z = self.ablation(z, self.stack, self.index, cross=cross)
        return attn.o(merge_heads(z))
