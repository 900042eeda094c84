"""Heads whose outputs are taken away, to see what depends on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qkv_cli.core.arrays import Array


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
        left, gone = z.copy(order="K"), list(heads)  # as it lies, to add up in the same order
        left[gone] = z[gone].mean(axis=1, keepdims=True) if self.mean else 0
        return left
