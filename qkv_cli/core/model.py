"""A transformer, described by its weights.

Architectures differ in data, not in branches on their names: an absent norm is None, masked cells
have a bias of -inf, a tied weight is the same array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial, reduce

import numpy as np

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.block import Ablation, Block, LayerTrace
from qkv_cli.core.finite import FiniteCheck, Weights
from qkv_cli.core.layers import (
    Buckets,
    Embedding,
    Linear,
    Norm,
    PositionEmbeddings,
    Unembedding,
    apply_norm,
)
from qkv_cli.core.positions import (
    OffsetBias,
    alibi_bias,
    bucket_bias,
    causal_mask,
    clipped_offset_bias,
    local_mask,
)
from qkv_cli.names import StackName, Weighting


@dataclass(frozen=True, slots=True)
class Stack:
    """An encoder or a decoder."""

    blocks: Sequence[Block]
    causal: bool = False
    offsets: Array | None = None  # [2 * clip + 1, n_heads], see `clipped_offset_bias`
    alibi: int | None = None  # n_heads, see `alibi_bias`
    buckets: Buckets | None = None
    final_norm: Norm | None = None

    def bias(
        self, n: int, window: int | None = None, buckets: Buckets | None = None, *, causal: bool
    ) -> OffsetBias | None:
        """Return what is added to the scores of self-attention of n tokens; None for nothing.

        Args:
            window, buckets: Those of the layer.
            causal: Mask later keys, also in an encoder.
        """
        parts: list[Array] = []
        visible: list[Mask] = []
        buckets = buckets or self.buckets
        if self.offsets is not None:
            parts.append(clipped_offset_bias(self.offsets, n))
            visible.append(~np.isneginf(parts[0]))
        if self.alibi is not None:
            parts.append(alibi_bias(self.alibi, n))
        if buckets is not None:
            table, reach = buckets.table, buckets.max_distance
            parts.append(bucket_bias(table, n, two_sided=not self.causal, max_distance=reach))
        masks: list[Mask] = []
        if causal or self.causal:
            masks.append(causal_mask(n, window if self.causal else None))
        if window is not None and not self.causal:
            masks.append(local_mask(n, window))
        parts += (np.where(mask, np.float32(0), np.float32(-np.inf)) for mask in masks)
        if not parts:
            return None
        everything = np.ones((1, 2 * n - 1), np.bool_)
        return OffsetBias(
            sum(parts[1:], start=parts[0]),
            reduce(np.logical_and, [*masks, *visible], everything),
            n,
        )


@dataclass(frozen=True, slots=True)
class Model:
    embed: Embedding
    stacks: Mapping[StackName, Stack]  # in the order they run
    positions: Mapping[StackName, PositionEmbeddings] = field(default_factory=dict)
    embed_scale: float = 1.0
    embed_norms: Mapping[StackName, Norm] = field(default_factory=dict)
    embed_out: Linear | None = None  # from the embedding's size to d_model
    decoder_embed: Embedding | None = None  # the decoder's own, if it has one
    unembed: Unembedding | None = None
    # Word vectors: the same heads as an encoder-decoder, for cross-attention between two texts.
    between_texts: Model | None = None
    ablation: Ablation | None = None
    weights: Weights = field(default_factory=lambda: Weights({}))  # its tensors, for error messages

    def ablate(self, ablation: Ablation) -> Model:
        """Return the same model with some heads ablated."""
        return replace(self, ablation=ablation)

    def with_weights(self, weights: Weights) -> Model:
        """Return the same model, whose errors name these tensors."""
        other = self.between_texts
        other = None if other is None else replace(other, weights=weights)
        return replace(self, weights=weights, between_texts=other)

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

        Later layers are not computed if the caller stops, and only one layer is in memory if the
        caller keeps none.

        Args:
            decoder_ids: What the decoder of an encoder-decoder reads.
            types: The token type of each token; 0 if not given.
            causal: Mask every key after its query, also in an encoder.

        Raises:
            CheckpointError: A head or the output of a layer contains NaN or infinity.
        """
        layers = self._layers(ids, decoder_ids, types, weighting, causal=causal)
        check, layer = self._finite_check, None
        while True:
            with np.errstate(all="ignore"):  # NaN and infinity are refused
                if layer is not None:
                    check.check_output(layer)
                if (layer := next(layers, None)) is None:
                    return
                check.check_heads(layer)
            yield layer

    def check_output(self, layer: LayerTrace) -> None:
        """Check the output of the last layer that is used; `layers` checks those before it.

        Raises:
            CheckpointError: It contains NaN or infinity.
        """
        with np.errstate(all="ignore"):
            self._finite_check.check_output(layer)

    def logits(self, unembed: Unembedding | Linear, resid: Array, name: StackName) -> Array:
        """Return the logits of the next token, [n, d_vocab].

        Args:
            unembed: The model's unembedding, packed or unpacked.
            resid: The output of the stack's last layer, [n, d_model].

        Raises:
            CheckpointError: A logit is NaN or infinite.
        """
        with np.errstate(all="ignore"):
            logits = unembed(apply_norm(self.stacks[name].final_norm, resid))
            self._finite_check.check_logits(logits)
        return logits

    @property
    def _finite_check(self) -> FiniteCheck:
        return FiniteCheck(
            self.weights, {name: stack.blocks for name, stack in self.stacks.items()}
        )

    def _layers(
        self,
        ids: Sequence[int],
        decoder_ids: Sequence[int],
        types: Sequence[int],
        weighting: Weighting,
        *,
        causal: bool,
    ) -> Iterator[LayerTrace]:
        memory = None
        for (name, stack), tokens in zip(self.stacks.items(), (ids, decoder_ids), strict=False):
            if not tokens:
                return  # an encoder-decoder whose decoder has nothing to read
            resid = None if stack.blocks else self._embed(name, tokens, types)
            for layer in self._stack(name, tokens, memory, types, weighting, causal=causal):
                yield layer
                resid = layer.resid_post
            memory = None if resid is None else apply_norm(stack.final_norm, resid)

    def step(
        self, ids: Sequence[int], memory: Array | None, cache: Sequence[LayerTrace]
    ) -> list[LayerTrace]:
        """Run the decoder's layers on the last token, with cached keys and values.

        Args:
            cache: The layers' traces of the previous step.

        Raises:
            CheckpointError: A head or the output of a layer contains NaN or infinity.
        """
        with np.errstate(all="ignore"):
            check, layers = self._finite_check, self._step(ids, memory, cache)
            for layer in layers:
                check.check_heads(layer)
                check.check_output(layer)
        return layers

    def _step(
        self, ids: Sequence[int], memory: Array | None, cache: Sequence[LayerTrace]
    ) -> list[LayerTrace]:
        stack = self.stacks["decoder"]
        if any(block.reads_all_tokens for block in stack.blocks):
            return [*self._stack("decoder", ids, memory)]
        resid, traces = self._embed("decoder", ids, ())[-1:], list[LayerTrace]()
        for i, block in enumerate(stack.blocks):
            bias = stack.bias(len(ids), block.window, block.buckets, causal=False)
            traces.append(
                LayerTrace(
                    block=block,
                    stack="decoder",
                    index=i,
                    resid_pre=resid,
                    bias=None if bias is None else bias.of_last_query(),
                    memory=memory,
                    weighting="softmax",
                    attn_cache=cache[i].attn if cache else None,
                    cross_cache=cache[i].cross if cache else None,
                )
            )
            resid = traces[-1].resid_post
        return traces

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
            layer = LayerTrace(
                block=block,
                stack=name,
                index=index,
                resid_pre=resid,
                bias=bias_of(block.window, block.buckets),
                memory=memory,
                weighting=weighting,
                ablation=self.ablation,
            )
            yield layer
            resid = layer.resid_post

    def _embed(self, name: StackName, ids: Sequence[int], types: Sequence[int]) -> Array:
        decoder_embed = self.decoder_embed if name == "decoder" else None
        x = (decoder_embed or self.embed)(ids)
        if self.embed_scale != 1.0:
            x = np.float32(self.embed_scale) * x
        if name in self.positions:
            x = self.positions[name](x, ids, types)
        x = apply_norm(self.embed_norms.get(name), x)
        return x if self.embed_out is None else self.embed_out(x)
