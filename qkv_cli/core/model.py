"""One transformer, described by its weights.

An architecture differs from another in data, never in a branch on its name:
a norm that is absent is None, a mask is a bias, a tied weight is the same array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial, reduce

import numpy as np

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.block import Ablation, Block, LayerTrace, run_block
from qkv_cli.core.finite import FiniteCheck, Weights
from qkv_cli.core.layers import (
    Buckets,
    Embedding,
    Linear,
    Norm,
    Places,
    Unembedding,
    normed,
)
from qkv_cli.core.positions import (
    alibi_bias,
    bucket_bias,
    causal_mask,
    local_mask,
    offset_bias,
    offset_mask,
)
from qkv_cli.names import StackName, Weighting


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
        """[1 or n_heads, n, n]: everything added to self-attention scores, -inf where masked.

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
        parts += (
            np.where(mask, np.float32(0), np.float32(-np.inf))
            for mask in self._places_masks(n, window, causal=causal)
        )
        if not parts:
            return None
        total = sum(parts[1:], start=parts[0])
        return np.ascontiguousarray(total.swapaxes(-1, -2)).swapaxes(-1, -2)  # as scores lie

    def mask(self, n: int, window: int | None = None, *, causal: bool) -> Mask | None:
        """[1 or n_heads, n, n]: which keys a query can see; None where it sees all of them.

        Args:
            window: Of one layer alone.
        """
        parts = self._places_masks(n, window, causal=causal)
        if self.offsets is not None and (mask := offset_mask(self.offsets, n)) is not None:
            parts.append(mask)  # its bias has them already
        return reduce(np.logical_and, parts) if parts else None

    def _places_masks(self, n: int, window: int | None, *, causal: bool) -> list[Mask]:
        """What hides keys by their places alone."""
        parts: list[Mask] = []
        if causal or self.causal:
            parts.append(causal_mask(n, window if self.causal else None))
        if window is not None and not self.causal:
            parts.append(local_mask(n, window))
        return parts


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
    weights: Weights = field(default_factory=lambda: Weights({}))  # what it was made of, to name

    def ablate(self, ablation: Ablation) -> Model:
        """Return the same model with some heads ablated."""
        return replace(self, ablation=ablation)

    def made_of(self, weights: Weights) -> Model:
        """The same model, whose errors name these tensors."""
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

        A caller that stops early never pays for the layers it did not look at,
        and one that keeps nothing holds a single layer in memory. `causal` masks
        what is to the right of a query also where the model would look there.

        Args:
            types: Which text of a pair each token is of; the first, if not given.

        Raises:
            CheckpointError: A head, or what a layer leaves to the next, is not finite.
        """
        layers = self._layers(ids, decoder_ids, types, weighting, causal=causal)
        watch, layer = self._watch, None
        while True:
            with np.errstate(all="ignore"):  # what is not finite is refused
                if layer is not None:
                    watch.output(layer)
                if (layer := next(layers, None)) is None:
                    return
                watch.attention(layer)
            yield layer

    def refuse_output(self, layer: LayerTrace) -> None:
        """Check what a layer leaves, of which nothing may be read after it.

        Raises:
            CheckpointError: It is not finite.
        """
        with np.errstate(all="ignore"):
            self._watch.output(layer)

    def scores(self, unembed: Unembedding | Linear, resid: Array, name: StackName) -> Array:
        """[n, d_vocab]: how well each token would come next.

        Args:
            unembed: The model's own, as it is or unpacked.
            resid: What the last layer of the stack leaves, [n, d_model].

        Raises:
            CheckpointError: A score is not finite.
        """
        with np.errstate(all="ignore"):
            scores = unembed(normed(self.stacks[name].final_norm, resid))
            self._watch.scores(scores)
        return scores

    @property
    def _watch(self) -> FiniteCheck:
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
                return  # an encoder-decoder that was given nothing to write
            resid = None if stack.blocks else self._embed(name, tokens, types)
            for layer in self._stack(name, tokens, memory, types, weighting, causal=causal):
                yield layer
                resid = layer.resid_post
            memory = None if resid is None else normed(stack.final_norm, resid)

    def step(
        self, read: Sequence[int], memory: Array | None, before: Sequence[LayerTrace]
    ) -> list[LayerTrace]:
        """Each layer of the decoder for the last token alone, behind the keys of those before it.

        Args:
            before: Its layers for the token before that.

        Raises:
            CheckpointError: A head, or what a layer leaves, is not finite.
        """
        with np.errstate(all="ignore"):
            watch, layers = self._watch, self._step(read, memory, before)
            for layer in layers:
                watch.attention(layer)
                watch.output(layer)
        return layers

    def _step(
        self, read: Sequence[int], memory: Array | None, before: Sequence[LayerTrace]
    ) -> list[LayerTrace]:
        stack = self.stacks["decoder"]
        if any(block.recurrent is not None for block in stack.blocks):
            return [*self._stack("decoder", read, memory)]  # a state that no trace keeps
        resid, traces = self._embed("decoder", read, ())[-1:], list[LayerTrace]()
        for i, block in enumerate(stack.blocks):
            bias = stack.bias(len(read), block.window, block.buckets, causal=False)
            mask = stack.mask(len(read), block.window, causal=False)
            bias = None if bias is None else bias[:, -1:]
            mask = None if mask is None else mask[:, -1:]
            last = before[i] if before else None
            traces.append(
                run_block(block, "decoder", i, resid, bias, mask, memory, "softmax", last)
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
        # Layers of one kind share bias and mask; some models have two kinds in turn.
        bias_of = lru_cache(2)(partial(stack.bias, len(tokens), causal=causal))
        mask_of = lru_cache(2)(partial(stack.mask, len(tokens), causal=causal))
        for index, block in enumerate(stack.blocks):
            bias, mask = bias_of(block.window, block.buckets), mask_of(block.window)
            layer = run_block(
                block, name, index, resid, bias, mask, memory, weighting, ablation=self.ablation
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
        x = normed(self.embed_norms.get(name), x)
        return x if self.embed_out is None else self.embed_out(x)
