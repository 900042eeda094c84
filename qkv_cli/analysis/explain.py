"""Every number in the calculation of one attention weight, and the largest weight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from qkv_cli.core.arrays import Array, float64
from qkv_cli.core.attention import AttentionTrace
from qkv_cli.core.block import Attention, LayerTrace
from qkv_cli.core.layers import Linear
from qkv_cli.core.model import Model
from qkv_cli.names import Block, Weighting


@dataclass(frozen=True, slots=True)
class Projection:
    """A vector projected by one head's part of a linear layer."""

    product: Array  # [d_head], W e
    bias: Array | None  # [d_head]
    result: Array  # [d_head], as used: W e + b, then any norm and rotation

    @property
    def is_plain(self) -> bool:
        """Whether the vector is W e + b, without norm or rotation."""
        expected = self.product if self.bias is None else self.product + self.bias
        return bool(np.allclose(expected, self.result, rtol=1e-3, atol=1e-4))


@dataclass(frozen=True, slots=True)
class Output:
    """The output of the layer, W_O applied to the concatenated heads, in parts that sum to it."""

    pair: Array  # [d_model], from the key's share of this head
    words: Array  # [d_model], from the other keys' shares of this head
    heads: Array  # [d_model], from the other heads
    bias: Array | None  # [d_model]
    total: Array  # [d_model]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The weight of one query and key in one head."""

    weighting: Weighting
    head: int
    n_heads: int
    query: int  # the index of the query
    key: int  # the index of the key
    between_texts: bool
    e_query: Array  # [d_model]
    e_key: Array  # [d_model]
    q: Projection
    k: Projection
    v: Projection
    products: Array  # [d_head], q_d k_d
    scale: float
    norms: bool  # whether q and k are normed
    rotates: bool  # whether q and k have rotary position embeddings
    terms: Mapping[str, Array]  # by name, [n_key] each; they sum to the scores
    scores: Array  # [n_key], -inf where masked
    masked: Sequence[str | None]  # [n_key], why the key is masked, or None
    exps: Array  # [n_key], exp(score - largest score)
    pattern: Array  # [n_key], the weights
    shares: Array  # [n_key, d_head], weight times value
    z: Array  # [d_head], the sum of the shares
    along: Array  # [n_key], the projection of each share onto z, as a fraction of z
    z_heads: Array  # [n_heads, d_head], which are concatenated
    output: Output

    @property
    def d_head(self) -> int:
        return len(self.products)

    @property
    def divides_by_root(self) -> bool:
        """Whether the scale is the usual 1 / sqrt(d_head)."""
        return bool(np.isclose(self.scale, self.d_head**-0.5))

    @property
    def dot(self) -> float:
        return float(self.products.sum())

    @property
    def weight(self) -> float:
        return float(self.pattern[self.key])


def explain_layer(
    model: Model,
    layer: LayerTrace,
    name: Block,
    *,
    head: int,
    query: int,
    key: int,
    weighting: Weighting,
) -> Explanation:
    """Explain one weight of a layer that `model` has computed.

    Args:
        name: The block of attention to explain.

    Raises:
        CheckpointError: The output of the layer contains NaN or infinity.
    """
    model.check_output(layer)
    block = model.stacks[layer.stack].blocks[layer.index]
    is_cross, trace = layer.is_cross(name), layer.attention(name)
    attn = block.cross if is_cross else block.attn
    x, memory = (layer.cross_in, layer.memory) if is_cross else (layer.attn_in, layer.attn_in)
    if attn is None or x is None or memory is None:
        raise ValueError(f"layer {layer.index} has no attention")
    return explain(
        attn,
        x,
        memory,
        trace,
        head=head,
        query=query,
        key=key,
        weighting=weighting,
        between_texts=is_cross,
    )


def explain(
    attn: Attention,
    x: Array,
    memory: Array,
    trace: AttentionTrace,
    *,
    head: int,
    query: int,
    key: int,
    weighting: Weighting,
    between_texts: bool,
) -> Explanation:
    """Explain one weight of an attention sub-layer.

    Args:
        x: The input of the queries, [n_query, d_model].
        memory: The input of keys and values, [n_key, d_model]; `x` in self-attention.
        trace: What `attn` computed from them.
    """
    kv = head // (len(trace.q) // len(trace.k))  # grouped-query attention: several heads share
    q, keys, values = (float64(part) for part in (trace.q[head, query], trace.k[kv], trace.v[kv]))
    terms = _terms(attn, trace, head, query, attn.scale * (keys @ q))
    scores: Array = np.sum(list(terms.values()), axis=0)
    pattern = float64(trace.pattern(*_row(head, query))[0, 0])
    shares = pattern[:, None] * values  # [n_key, d_head]
    z_heads = float64(trace.z[:, query])
    return Explanation(
        weighting=weighting,
        head=head,
        n_heads=len(trace.q),
        query=query,
        key=key,
        between_texts=between_texts,
        e_query=float64(x[query]),
        e_key=float64(memory[key]),
        q=_projection(attn.q, x[query], head, q),
        k=_projection(attn.k, memory[key], kv, keys[key]),
        v=_projection(attn.v, memory[key], kv, values[key]),
        products=q * keys[key],
        scale=attn.scale,
        norms=attn.q_norm is not None,
        rotates=attn.rotary is not None,
        terms=terms,
        scores=scores,
        masked=_reasons(trace, head, query, between_texts),
        exps=_exps(scores),
        pattern=pattern,
        shares=shares,
        z=shares.sum(axis=0),
        along=_along(shares),
        z_heads=z_heads,
        output=_output(attn.o, z_heads, shares, head, key),
    )


def _terms(
    attn: Attention, trace: AttentionTrace, head: int, query: int, content: Array
) -> dict[str, Array]:
    """Return the terms, [n_key] each, that sum to the scores of a query."""
    terms = {"content": content}
    if attn.softcap is not None:
        terms["soft cap"] = attn.softcap * np.tanh(content / attn.softcap) - content
    row = _row(head, query)
    if trace.relative is not None:
        parts = trace.relative.terms(*row)
        terms |= {name: attn.scale * float64(part[0, 0]) for name, part in parts.items()}
    if trace.bias is None:
        return terms
    remainder = float64(trace.bias.block(*row)[0, 0])
    visible = trace.mask(*row)[0, 0]
    if remainder[visible].any():
        terms["position"] = remainder
    elif not visible.all() or attn.relative is None:
        terms["mask"] = remainder
    return terms


def _row(head: int, query: int) -> tuple[slice, slice]:
    return slice(head, head + 1), slice(query, query + 1)


def _projection(linear: Linear, e: Array, head: int, result: Array) -> Projection:
    columns = slice(head * len(result), (head + 1) * len(result))
    return Projection(
        product=float64(e) @ float64(linear.columns(columns)),
        bias=None if linear.b is None else float64(linear.b[columns]),
        result=result,
    )


def _reasons(trace: AttentionTrace, head: int, query: int, between_texts: bool) -> list[str | None]:
    """Return why each key is masked; None if it is not."""
    looks_ahead = not between_texts and _looks_ahead(trace, head)

    def reason(key: int) -> str:
        if between_texts:
            return "masked"
        if key == query:
            return "a word cannot attend to itself"
        return (
            "it comes later" if key > query and not looks_ahead else "outside the attention window"
        )

    mask = trace.mask(*_row(head, query))[0, 0]
    return [None if visible else reason(j) for j, visible in enumerate(mask)]


def _looks_ahead(trace: AttentionTrace, head: int) -> bool:
    """Whether a query of a head can see a later key."""
    return any(
        np.triu(trace.mask(slice(head, head + 1), rows)[0], rows.start + 1).any()
        for rows in _runs(range(trace.shape[1]), trace.block_rows)
    )


def _runs(queries: Sequence[int], n_rows: int) -> Iterator[slice]:
    """Yield queries that follow each other as slices, of at most `n_rows` rows."""
    start = 0
    for end in range(1, len(queries) + 1):
        is_last = end == len(queries) or queries[end] != queries[end - 1] + 1
        if is_last or end - start == n_rows:
            yield slice(queries[start], queries[end - 1] + 1)
            start = end


def _exps(scores: Array) -> Array:
    top = scores.max()
    exps: Array = np.exp(scores - (top if np.isfinite(top) else 0.0))
    return exps


def _along(shares: Array) -> Array:
    """Return share . z / z . z, [n_key]; zeros if z is zero."""
    z = shares.sum(axis=0)
    length = float(z @ z)
    along: Array = shares @ z / length if length else np.zeros(len(shares))
    return along


def _output(o: Linear, z_heads: Array, shares: Array, head: int, key: int) -> Output:
    d_head = z_heads.shape[1]
    W = float64(o.matrix()).reshape(len(z_heads), d_head, -1)  # [n_heads, d_head, d_model]
    by_head = np.einsum("hd,hdm->hm", z_heads, W)
    pair = shares[key] @ W[head]
    words = np.delete(shares, key, axis=0).sum(axis=0) @ W[head]
    heads = np.delete(by_head, head, axis=0).sum(axis=0)
    bias = None if o.b is None else float64(o.b)
    total = pair + words + heads
    return Output(
        pair=pair,
        words=words,
        heads=heads,
        bias=bias,
        total=total if bias is None else total + bias,
    )


@dataclass(frozen=True, slots=True)
class WeightLocation:
    """A weight: its layer, head, query and key."""

    layer: LayerTrace
    head: int
    query: int
    key: int


def largest_weight(
    layers: Iterable[LayerTrace],
    heads: Mapping[int, Sequence[int]],
    queries: Sequence[int],
    keys: Sequence[int],
    name: Block = "self",
) -> WeightLocation:
    """Find the largest weight.

    Of equal weights (hard indexing has many), the one with the higher score is taken, then the
    first in the order of layers, heads, queries and keys.

    Args:
        heads: The heads to search, by layer; later layers are not computed.
        queries, keys: The tokens to search.
        name: The block of attention.
    """
    best, link = (-np.inf, -np.inf), None
    last_layer = max(heads)
    for layer in layers:
        if layer.index in heads:
            trace = layer.attention(name)
            blocks = product(heads[layer.index], [*_runs(queries, trace.block_rows)])
            for head, rows in blocks:
                block = slice(head, head + 1), rows
                pattern = trace.pattern(*block)[0][:, keys].ravel()
                scores = trace.scores(*block)[0][:, keys].ravel()
                equal = np.flatnonzero(pattern == pattern.max())
                at = int(equal[scores[equal].argmax()])
                candidate = (float(pattern[at]), float(scores[at]))
                if link is None or candidate > best:
                    i, j = divmod(at, len(keys))
                    best, link = (
                        candidate,
                        WeightLocation(layer=layer, head=head, query=rows.start + i, key=keys[j]),
                    )
        if layer.index == last_layer:
            break
    if link is None:
        raise ValueError(f"no attention in layers up to {last_layer}")
    return link
