"""One transformer, described by its weights.

An architecture differs from another in data, never in a branch on its name:
a norm that is absent is None, a mask is a bias, a tied weight is the same array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.ablation import Ablation
from qkv_cli.core.arrays import (
    BLOCK,
    N_CORES,
    Activation,
    Array,
    Stored,
    float32,
    parts,
    relu,
    share_out,
    sigmoid,
    softmax,
)
from qkv_cli.core.attention import (
    AttentionTrace,
    Weighting,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)
from qkv_cli.core.convolution import Convolution
from qkv_cli.core.disentangled import Disentangled
from qkv_cli.core.positions import (
    alibi_bias,
    bucket_bias,
    causal_bias,
    local_bias,
    offset_bias,
)
from qkv_cli.core.rotary import Rotary
from qkv_cli.errors import InputError

StackName = Literal["encoder", "decoder"]


@dataclass(frozen=True, slots=True)
class Linear:
    W: Array  # [d_in, d_out]
    b: Array | None  # [d_out]

    def __call__(self, x: Array, then: Activation | None = None) -> Array:
        """[n_pos, d_in] -> [n_pos, d_out], or what `then` makes of it.

        It is (W.T x.T).T, so that torch's weights are read as they lie in the file. Positions
        come to lie side by side in memory, and stay so in what is made of them.
        """
        (d_in, d_out), n_pos = self.W.shape, len(x)
        out = np.empty((d_out, n_pos), np.result_type(x, self.W))

        def part(rows: slice) -> None:
            y = out[rows]
            np.matmul(self.W.T[rows], x.T, out=y)
            if self.b is not None:
                y += self.b[rows, None]
            if then is not None:
                for some in parts(len(y), y.size // BLOCK):
                    y[some] = then(y[some])

        share_out(part, d_out, N_CORES, n_pos * d_in * d_out)
        return out.T


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
        square = np.einsum("...d,...d->...", x, x)[..., None] / x.dtype.type(x.shape[-1])
        y: Array = x * (1 / np.sqrt(square + x.dtype.type(self.eps)))
        if self.w is not None:
            y *= self.w
        if self.b is not None:
            y += self.b
        return y


@dataclass(frozen=True, slots=True)
class Embedding:
    """Token vectors. The table may be memory-mapped: only the rows asked for are read."""

    table: Stored  # [d_vocab, d_model], float, or int8 with a scale per row
    row_scale: Stored | None = None  # [d_vocab]
    mean: Array | None = None  # [d_model], taken from every row
    blank: bool = False  # whether the id behind the last row is a token of zeros
    out: Linear | None = None  # from the table's width to d_model, before anything is added

    def __call__(self, ids: Sequence[int]) -> Array:
        """[n_pos, d_model], float32."""
        rows = np.asarray(ids, dtype=np.intp)
        last = len(self.table) - 1
        x: Array = float32(self.table[np.minimum(rows, last) if self.blank else rows])
        if self.blank:
            x = np.where((rows > last)[:, None], np.float32(0), x)
        if self.row_scale is not None:
            x = x * float32(self.row_scale[rows])[:, None]
        x = x if self.mean is None else x - self.mean
        return x if self.out is None else self.out(x)


@dataclass(frozen=True, slots=True)
class Unembedding:
    """From the last hidden state to a score for each next token."""

    table: Stored  # [d_vocab, d_model]
    b: Stored | None = None  # [d_vocab], or [1, d_vocab]
    scale: float = 1.0  # of the hidden state

    def linear(self) -> Linear:
        """The whole of it as float32."""
        W = float32(self.table).T
        b = None if self.b is None else float32(self.b).reshape(-1)
        return Linear(W if self.scale == 1.0 else W * np.float32(self.scale), b)


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
    ) -> tuple[Array, AttentionTrace]:
        """Attend from x, [n_query, d_model], to memory, [n_key, d_model].

        Args:
            before: Whose keys and values stand before those of `memory`.
            left: What W_O is given of z, if not all.
        """
        q, k = self._heads(self.q(x), self.q_norm), self._heads(self.k(memory), self.k_norm)
        v = split_heads(self.v(memory), self.d_head)
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
class SSRU:
    """A simple recurrent unit in place of a decoder's self-attention (Kim et al. 2019).

    f_t = sigmoid(W_f x_t + b_f); c_t = f_t c_(t-1) + (1 - f_t) W x_t; what goes on is relu(c_t).
    """

    candidate: Linear
    forget: Linear

    def __call__(self, x: Array) -> Array:
        """[n_pos, d_model] -> [n_pos, d_model], step by step."""
        new, kept = self.candidate(x), sigmoid(self.forget(x))
        states = np.empty_like(new)
        state = np.zeros_like(new[0])
        for i in range(len(x)):
            state = kept[i] * state + (1 - kept[i]) * new[i]
            states[i] = state
        return relu(states)


@dataclass(frozen=True, slots=True)
class MLP:
    up: Linear
    down: Linear
    act: Activation
    gate: Linear | None = None

    def __call__(self, x: Array) -> Array:
        if self.gate is None:
            return self.down(self.up(x, self.act))
        hidden = self.gate(x, self.act)
        hidden *= self.up(x)
        return self.down(hidden)


@dataclass(frozen=True, slots=True)
class Experts:
    """MLPs of which each token goes through the few that a router finds likeliest.

    Their outputs are added, weighted by the router's softmax, which is made to sum to 1 over
    those few: Jiang et al. 2024 (Mixtral, arXiv 2401.04088), section 2.1.
    """

    router: Linear  # [d_model, n_experts]
    make: Callable[[int], MLP]  # one at a time lies in memory
    n_chosen: int

    def __call__(self, x: Array) -> Array:
        share = softmax(self.router(x))  # [n_pos, n_experts]
        chosen = (-share).argsort(axis=-1, kind="stable")[:, : self.n_chosen]
        weight = np.take_along_axis(share, chosen, axis=-1)  # [n_pos, n_chosen]
        weight /= weight.sum(axis=-1, keepdims=True)
        out = np.zeros_like(x)
        for expert in np.unique(chosen):
            token, rank = np.nonzero(chosen == expert)
            out[token] += weight[token, rank, None] * self.make(int(expert))(x[token])
        return out

    def each(self) -> Iterator[MLP]:
        return map(self.make, range(self.router.W.shape[1]))


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


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """A bias for each bucket of distances, see `bucket_bias`."""

    table: Array  # [n_buckets, n_heads]
    max_distance: int


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
class Stack:
    """An encoder or a decoder."""

    blocks: Sequence[Block]
    causal: bool = False
    offsets: Array | None = None  # [2 * clip + 1, n_heads], see `offset_bias`
    alibi: int | None = None  # n_heads, see `alibi_bias`
    buckets: Buckets | None = None
    final_norm: Norm | None = None

    def bias(
        self, n: int, window: int | None = None, buckets: Buckets | None = None, *, causal: bool
    ) -> Array | None:
        """[1 or n_heads, n, n]: everything added to self-attention scores.

        Args:
            window, buckets: Of one layer alone.
        """
        parts: list[Array] = []
        buckets = buckets or self.buckets
        if self.offsets is not None:
            parts.append(offset_bias(self.offsets, n))
        if self.alibi is not None:
            parts.append(alibi_bias(self.alibi, n))
        if buckets is not None:
            table, reach = buckets.table, buckets.max_distance
            parts.append(bucket_bias(table, n, two_sided=not self.causal, max_distance=reach))
        if causal or self.causal:
            parts.append(causal_bias(n, window if self.causal else None))
        if window is not None and not self.causal:
            parts.append(local_bias(n, window))
        if not parts:
            return None
        total = sum(parts[1:], start=parts[0])
        return np.ascontiguousarray(total.swapaxes(-1, -2)).swapaxes(-1, -2)  # as scores lie


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


@dataclass(frozen=True, slots=True)
class Places:
    """What is added to a token for where it stands, and for which text of a pair it is of."""

    positions: Array | None = None  # [n_ctx, d_model]
    types: Array | None = None  # [n_types, d_model]
    padding: int | None = None  # an id that takes no place: rows are counted on from its own

    def __call__(self, x: Array, ids: Sequence[int], types: Sequence[int]) -> Array:
        if self.positions is not None and self.n_places is not None:
            x = x + self.positions[self._rows(ids, self.n_places)]
        if self.types is not None:
            x = x + self.types[list(types) or [0] * len(ids)]
        return x

    @property
    def n_places(self) -> int | None:
        """How long a text may be, if there is an end to it."""
        if self.positions is None:
            return None
        return len(self.positions) - (0 if self.padding is None else self.padding + 1)

    def _rows(self, ids: Sequence[int], n_places: int) -> NDArray[np.intp]:
        if len(ids) > n_places:
            raise InputError(
                f"The text has {len(ids):,} tokens; this model has {n_places:,} places."
            )
        if self.padding is None:
            return np.arange(len(ids))
        taken = np.asarray(ids) != self.padding
        rows: NDArray[np.intp] = self.padding + taken.cumsum() * taken
        return rows


@dataclass(frozen=True, slots=True)
class Model:
    embed: Embedding
    stacks: Mapping[StackName, Stack]  # in the order they run
    places: Mapping[StackName, Places] = field(default_factory=dict)
    embed_scale: float = 1.0
    embed_norms: Mapping[StackName, Norm] = field(default_factory=dict)
    embed_out: Linear | None = None  # from the embedding's size to d_model
    decoder_embed: Embedding | None = None  # where a decoder has one of its own
    unembed: Unembedding | None = None
    between_texts: Model | None = None  # how the same heads read a second text, if they can
    ablation: Ablation | None = None

    def without(self, ablation: Ablation | None) -> Model:
        """The same model in which some heads hand nothing on."""
        other = self.between_texts
        other = None if other is None else replace(other, ablation=ablation)
        return replace(self, ablation=ablation, between_texts=other)

    def layers(
        self,
        ids: Sequence[int],
        decoder_ids: Sequence[int] = (),
        *,
        types: Sequence[int] = (),
        weighting: Weighting = "softmax",
        causal: bool = False,
    ) -> Iterator[LayerTrace]:
        """Yield each layer as it is computed.

        A caller that stops early never pays for the layers it did not look at,
        and one that keeps nothing holds a single layer in memory. `causal` masks
        what is to the right of a query also where the model would look there.

        Args:
            types: Which text of a pair each token is of; the first, if not given.
        """
        memory = None
        for (name, stack), tokens in zip(self.stacks.items(), (ids, decoder_ids), strict=False):
            if not tokens:
                return  # an encoder-decoder that was given nothing to write
            resid = None if stack.blocks else self._embed(name, tokens, types)
            for layer in self._stack(name, tokens, memory, types, weighting, causal=causal):
                yield layer
                resid = layer.resid_post
            memory = None if resid is None else _maybe(stack.final_norm, resid)

    def step(
        self, read: Sequence[int], memory: Array | None, before: Sequence[LayerTrace]
    ) -> list[LayerTrace]:
        """Each layer of the decoder for the last token alone, behind the keys of those before it.

        Args:
            before: Its layers for the token before that.
        """
        stack = self.stacks["decoder"]
        if any(block.recurrent is not None for block in stack.blocks):
            return [*self._stack("decoder", read, memory)]  # a state that no trace keeps
        resid, found = self._embed("decoder", read, ())[-1:], list[LayerTrace]()
        for i, block in enumerate(stack.blocks):
            bias = stack.bias(len(read), block.window, block.buckets, causal=False)
            bias = None if bias is None else bias[:, -1:]
            last = before[i] if before else None
            found.append(_run_block(block, "decoder", i, resid, bias, memory, "softmax", last))
            resid = found[-1].resid_post
        return found

    def _stack(
        self,
        name: StackName,
        tokens: Sequence[int],
        memory: Array | None,
        types: Sequence[int] = (),
        weighting: Weighting = "softmax",
        *,
        causal: bool = False,
    ) -> Iterator[LayerTrace]:
        stack = self.stacks[name]
        resid = np.asfortranarray(self._embed(name, tokens, types))  # as `Linear` leaves it
        # Layers of one kind share a bias; some models have two kinds in turn.
        bias_of = lru_cache(2)(partial(stack.bias, len(tokens), causal=causal))
        for index, block in enumerate(stack.blocks):
            bias = bias_of(block.window, block.buckets)
            layer = _run_block(
                block, name, index, resid, bias, memory, weighting, ablation=self.ablation
            )
            yield layer
            resid = layer.resid_post

    def _embed(self, name: StackName, ids: Sequence[int], types: Sequence[int]) -> Array:
        own = self.decoder_embed if name == "decoder" else None
        x = (own or self.embed)(ids)
        if self.embed_scale != 1.0:
            x = np.float32(self.embed_scale) * x
        if name in self.places:
            x = self.places[name](x, ids, types)
        x = _maybe(self.embed_norms.get(name), x)
        return x if self.embed_out is None else self.embed_out(x)


def _run_block(
    block: Block,
    name: StackName,
    index: int,
    resid_pre: Array,
    bias: Array | None,
    memory: Array | None,
    weighting: Weighting,
    before: LayerTrace | None = None,
    ablation: Ablation | None = None,
) -> LayerTrace:
    """One layer.

    Args:
        before: Of the tokens before these, where they were run by themselves.
    """

    def left(cross: bool) -> Callable[[Array], Array] | None:
        if ablation is None:
            return None
        return partial(ablation, stack=name, layer=index, cross=cross)

    norms, scale = block.norms, np.float32(block.resid_scale)
    resid, attn, cross, cross_in = resid_pre, None, None, None
    attn_in = _maybe(norms.attn_in, resid_pre)
    if block.attn is not None:
        known = None if before is None else before.attn
        attn_out, attn = block.attn(attn_in, attn_in, bias, weighting, known, left(False))
        resid = _maybe(norms.resid_mid, resid + scale * _maybe(norms.attn_out, attn_out))
    if block.recurrent is not None:
        resid = _maybe(norms.resid_mid, resid + block.recurrent(attn_in))
    if block.cross is not None and memory is not None:
        cross_in = _maybe(norms.cross_in, resid)
        known = None if before is None else before.cross
        new = memory if known is None else memory[:0]
        cross_out, cross = block.cross(cross_in, new, None, weighting, known, left(True))
        resid = _maybe(norms.cross_out, resid + cross_out)
    resid_mid = resid
    if block.mlp is not None:
        mlp_out = block.mlp(_maybe(norms.mlp_in, resid_pre if block.parallel else resid_mid))
        resid = _maybe(norms.resid_post, resid_mid + scale * _maybe(norms.mlp_out, mlp_out))
    if block.convolution is not None:
        resid = _maybe(norms.convolved, resid + block.convolution(resid_pre))
    return LayerTrace(
        name, index, resid_pre, resid_mid, resid, attn_in, cross_in, memory, attn, cross, block
    )


def _maybe(norm: Norm | None, x: Array) -> Array:
    return x if norm is None else norm(x)
