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
    apply_linears,
    apply_norm,
)
from qkv_cli.core.positions import Disentangled, Rotary
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
    """A convolution over the positions of a text."""

    W: Array  # [n_taps, d_in, d_out], an odd number of taps, centred on the token
    b: Array  # [d_out]
    act: Activation

    def __call__(self, x: Array) -> Array:
        """[n_pos, d_in] -> [n_pos, d_out], with zeros beyond both ends of the text."""
        n_pos, reach = len(x), len(self.W) // 2
        padded_x = np.pad(x, ((reach, reach), (0, 0)))
        taps = (padded_x[i : i + n_pos] @ w for i, w in enumerate(self.W))
        return self.act(sum(taps, start=self.b))


@dataclass(frozen=True, slots=True)
class Attention:
    """The weights and settings of an attention sub-layer."""

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

    def __call__(
        self,
        x: Array,
        kv_input: Array,
        bias: Array | None,
        weighting: Weighting,
        cache: AttentionTrace | None = None,
        ablate: Callable[[Array], Array] | None = None,
        mask: Mask | None = None,
    ) -> tuple[Array, AttentionTrace]:
        """Attend from x, [n_query, d_model], to kv_input, [n_key, d_model], which is x or a text.

        Args:
            bias, mask: See `scaled_dot_product_attention`.
            cache: The attention of earlier tokens, whose keys and values come first.
            ablate: Applied to z before W_O; see `Ablation`.
        """
        q, k, v = apply_linears((self.q, x), (self.k, kv_input), (self.v, kv_input))
        q, k = self._split_normed_heads(q, self.q_norm), self._split_normed_heads(k, self.k_norm)
        v = split_heads(v, self.d_head)
        if cache is not None:
            k, v = np.concatenate([cache.k, k], axis=1), np.concatenate([cache.v, v], axis=1)
        if self.relative is not None:
            relative_bias = q.dtype.type(self.scale) * self.relative(q, k)
            bias = relative_bias if bias is None else relative_bias + bias
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
        return self.o(merge_heads(trace.z if ablate is None else ablate(trace.z))), trace

    @property
    def n_heads(self) -> int:
        """The number of query heads."""
        return int(self.q.W.shape[1]) // self.d_head

    def _split_normed_heads(self, x: Array, norm: Norm | None) -> Array:
        """Split queries or keys into heads, [n_heads, n_pos, d_head], normalized and rotated."""
        # A norm is shared by all heads (Qwen 3), has a weight per head (StableLM), or normalizes
        # all heads together (OLMo 2); its width shows which.
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

    @property
    def n_bytes(self) -> int:
        """The bytes of its matrices as float32, with one expert of several."""
        attentions = [self.attn, self.cross]
        linears = [x for a in attentions if a is not None for x in (a.q, a.k, a.v, a.o)]
        mlp = next(self.mlp.mlps(), None) if isinstance(self.mlp, Experts) else self.mlp
        if mlp is not None:
            linears += [x for x in (mlp.up, mlp.down, mlp.gate) if x is not None]
        if self.attn is not None and (relative := self.attn.relative) is not None:
            linears += [x for x in (relative.q, relative.k) if x is not None]
        n_convolution = 0 if self.convolution is None else self.convolution.W.size
        distinct = {id(linear): linear.W.size for linear in linears}
        return 4 * (sum(distinct.values()) + n_convolution)


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


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """The inputs and outputs of one block."""

    stack: StackName
    index: int
    resid_pre: Array  # [n_pos, d_model]
    resid_mid: Array  # [n_pos, d_model], after attention
    resid_post: Array  # [n_pos, d_model], after the MLP
    attn_in: Array  # [n_pos, d_model], the input of self-attention
    cross_in: Array | None  # [n_pos, d_model], the input of cross-attention's queries
    memory: Array | None  # [n_key, d_model], the input of cross-attention's keys and values
    attn: AttentionTrace | None
    cross: AttentionTrace | None
    block: Block  # the layer itself


def run_block(
    block: Block,
    stack: StackName,
    index: int,
    resid_pre: Array,
    bias: Array | None,
    mask: Mask | None,
    memory: Array | None,
    weighting: Weighting,
    cache: LayerTrace | None = None,
    ablation: Ablation | None = None,
) -> LayerTrace:
    """Run one layer.

    Args:
        bias, mask: For self-attention; in cross-attention every key is visible.
        cache: The trace of the previous step, with the keys and values of all earlier tokens.
    """

    def ablate(cross: bool) -> Callable[[Array], Array] | None:
        if ablation is None:
            return None
        return partial(ablation, stack=stack, layer=index, cross=cross)

    norms, scale = block.norms, np.float32(block.resid_scale)
    resid, attn, cross, cross_in = resid_pre, None, None, None
    attn_in = apply_norm(norms.attn_in, resid_pre)
    if block.attn is not None:
        attn_cache = None if cache is None else cache.attn
        attn_out, attn = block.attn(
            attn_in, attn_in, bias, weighting, attn_cache, ablate(False), mask
        )
        resid = apply_norm(norms.resid_mid, resid + scale * apply_norm(norms.attn_out, attn_out))
    if block.recurrent is not None:
        resid = apply_norm(norms.resid_mid, resid + block.recurrent(attn_in))
    if block.cross is not None and memory is not None:
        cross_in = apply_norm(norms.cross_in, resid)
        cross_cache = None if cache is None else cache.cross
        new_memory = memory if cross_cache is None else memory[:0]
        cross_out, cross = block.cross(
            cross_in, new_memory, None, weighting, cross_cache, ablate(True)
        )
        resid = apply_norm(norms.cross_out, resid + cross_out)
    resid_mid = resid
    if block.mlp is not None:
        mlp_out = block.mlp(apply_norm(norms.mlp_in, resid_pre if block.parallel else resid_mid))
        resid = apply_norm(norms.resid_post, resid_mid + scale * apply_norm(norms.mlp_out, mlp_out))
    if block.convolution is not None:
        resid = apply_norm(norms.convolved, resid + block.convolution(resid_pre))
    return LayerTrace(
        stack=stack,
        index=index,
        resid_pre=resid_pre,
        resid_mid=resid_mid,
        resid_post=resid,
        attn_in=attn_in,
        cross_in=cross_in,
        memory=memory,
        attn=attn,
        cross=cross,
        block=block,
    )
