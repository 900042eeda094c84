"""Checks for NaN and infinity, whose errors name the head and the tensor at fault.

One NaN or infinite weight makes every later number NaN. The heads of a layer are therefore
checked before it is returned, and its output before the next layer runs, in O(n d) time: NaN or
+inf in the scores of a head also appears in its z.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qkv_cli.core.arrays import Array, Mask, Packed, Stored, float32, largest_magnitude
from qkv_cli.core.layers import Experts
from qkv_cli.core.parallel import parts
from qkv_cli.errors import CheckpointError

if TYPE_CHECKING:
    from qkv_cli.core.attention import AttentionTrace
    from qkv_cli.core.block import Block, LayerTrace
    from qkv_cli.names import StackName

_LARGE = 1e37  # sums of a few such numbers stay below float32's 3.4e38
_ROWS = 2**12  # rows of a tensor that are checked at once


class Weights(Mapping[str, Stored]):
    """A checkpoint's tensors by name, and the names that were read."""

    def __init__(self, tensors: Mapping[str, Stored]) -> None:
        self.tensors = tensors
        self.names_read: set[str] = set()

    def __getitem__(self, name: str) -> Stored:
        self.names_read.add(name)
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def names_read_by(self, blocks: Iterable[Block]) -> set[str]:
        """Return the names that are read while `blocks` builds layers."""
        names_before, self.names_read = self.names_read, set()
        for block in blocks:
            if isinstance(block.mlp, Experts):
                deque(block.mlp.mlps(), 0)
        names, self.names_read = self.names_read, names_before | self.names_read
        return names


@dataclass(frozen=True, slots=True)
class FiniteCheck:
    """Checks the layers of one run as they are computed.

    Attributes:
        weights: The checkpoint's tensors, to name the one at fault.
        blocks: The layers of each stack. Layers that are built on demand are built again to
            see which tensors they read.
    """

    weights: Weights
    blocks: Mapping[StackName, Sequence[Block]]

    def check_heads(self, layer: LayerTrace) -> None:
        """Check the heads of a layer.

        The maps of a long text are computed only if a score could overflow; the rows that are read
        are checked then.

        Raises:
            CheckpointError: A head contains NaN or infinity; the error names it and the tensor.
        """
        for trace, block in _traces(layer):
            if trace.is_kept or not (_is_small(trace) and _is_finite(trace.v)):
                self._check(layer, trace, block)

    def _check(self, layer: LayerTrace, trace: AttentionTrace, block: str) -> None:
        if (head := self._first_head_at_fault(trace)) is not None:
            name = self._with_block(f"L{layer.index}H{head}", block)
            raise self._error(name, self._suspect_tensors(layer, trace))

    def check_output(self, layer: LayerTrace) -> None:
        """Check the output of a layer.

        Raises:
            CheckpointError: It contains NaN or infinity; the error names the tensor.
        """
        if not _is_finite(layer.resid_post):
            for trace, block in _traces(layer):
                self._check(layer, trace, block)
            after = layer.index + 1
            is_last = after == len(self.blocks[layer.stack])
            name = f"the output of layer {layer.index}" if is_last else f"L{after}H0"
            raise self._error(self._with_block(name, layer.stack), self._layer_tensors(layer))

    def check_logits(self, logits: Array) -> None:
        """Check the logits of the next token; -inf is valid.

        Raises:
            CheckpointError: A logit is NaN or +inf; the error names the tensor.
        """
        if not (logits < np.inf).all():
            raise self._error("the output of the unembedding", self._shared_tensors())

    def _with_block(self, name: str, block: str) -> str:
        """Return a layer's name, with its block if there are several."""
        return f"{name} ({block})" if len(self.blocks) > 1 else name

    def _first_head_at_fault(self, trace: AttentionTrace) -> int | None:
        """Return the first head with NaN or infinity, not counting masked scores."""
        if _is_small(trace) and _is_finite(trace.z):
            return None
        group, n_rows = len(trace.q) // len(trace.k), trace.block_rows
        for head in range(len(trace.q)):
            arrays = (trace.q[head], trace.k[head // group], trace.v[head // group], trace.z[head])
            if not all(map(_is_finite, arrays)):
                return head
            for first in range(0, trace.shape[1], n_rows):
                block = slice(head, head + 1), slice(first, first + n_rows)
                if not _is_finite(trace.pattern(*block)):
                    return head
                if not _is_finite(trace.scores(*block), trace.mask(*block)):
                    return head
        return None

    def _suspect_tensors(self, layer: LayerTrace, trace: AttentionTrace) -> Iterator[str]:
        """Return the names of the tensors that can affect a head of a layer."""
        inputs = [layer.resid_pre] if layer.memory is None else [layer.resid_pre, layer.memory]
        if all(map(_is_finite, inputs)):
            yield from self._layer_tensors(layer)
            if trace.relative is None and _largest_bias(trace) < _LARGE:
                return
        yield from self._shared_tensors()  # embeddings, or a table of biases that all layers share

    def _layer_tensors(self, layer: LayerTrace) -> Iterator[str]:
        """Return the names of a layer's tensors; of all tensors if it was built before."""
        layer_names = self.weights.names_read_by(
            map(self.blocks[layer.stack].__getitem__, [layer.index])
        )
        return (name for name in self.weights if name in layer_names or not layer_names)

    def _shared_tensors(self) -> Iterator[str]:
        """Return the names of the tensors that belong to no layer."""
        inside = self.weights.names_read_by(
            block for blocks in self.blocks.values() for block in blocks
        )
        return (name for name in self.weights if name not in inside)

    def _error(self, subject: str, names: Iterable[str]) -> CheckpointError:
        """Return an error that names the first tensor with NaN or infinity, if there is one."""
        message = f"{subject[0].upper()}{subject[1:]} contains NaN or infinity"
        bad = next((name for name in names if not _is_sound(self.weights.tensors[name])), None)
        if bad is not None:
            tensor = self.weights.tensors[bad]
            stored_name = (tensor.name if isinstance(tensor, Packed) else "") or bad
            return CheckpointError(f"{message} because tensor {stored_name!r} does.")
        why = ": a value exceeds the range of float32 (3.4e38)" if self.weights else ""
        return CheckpointError(f"{message}{why}.")


def _traces(layer: LayerTrace) -> Iterator[tuple[AttentionTrace, str]]:
    """Return the traces of a layer with the names of their blocks."""
    if layer.attn is not None:
        yield layer.attn, layer.stack
    if layer.has_cross and layer.cross is not None:
        yield layer.cross, "cross"


def unsound_row(rows: Array) -> int | None:
    """Return the first row with NaN or infinity, or whose squared length overflows; else None."""
    with np.errstate(all="ignore"):
        rows_at_fault = np.flatnonzero(~np.isfinite(np.einsum("nd,nd->n", rows, rows)))
    return int(rows_at_fault[0]) if len(rows_at_fault) else None


def _is_small(trace: AttentionTrace) -> bool:
    """Whether no score can overflow: one that becomes -inf looks masked and does not affect z."""
    content = trace.q.shape[-1] * largest_magnitude(trace.q) * largest_magnitude(trace.k)
    relative = 0.0 if trace.relative is None else trace.relative.largest()
    return bool(trace.scale * (content + relative) + _largest_bias(trace) < _LARGE)


def _largest_bias(trace: AttentionTrace) -> float:
    """Return the largest bias in magnitude where it is not masked."""
    return 0.0 if trace.bias is None else trace.bias.largest()


def _is_finite(x: Array, mask: Mask | None = None) -> bool:
    """Whether all numbers are finite, or all that are not masked."""
    if mask is None:
        return largest_magnitude(x) < np.inf
    return bool((np.isfinite(x) | ~mask).all())


def _is_sound(x: Stored) -> bool:
    """Whether a tensor is finite; rows of -inf in a table of biases are masks."""
    if len(x.shape) != 2:
        return bool(np.isfinite(float32(x)).all())
    for rows in parts(len(x), -(-len(x) // _ROWS)):
        sample = float32(x[rows])
        if not (np.isfinite(sample).all(axis=1) | np.isneginf(sample).all(axis=1)).all():
            return False
    return True
