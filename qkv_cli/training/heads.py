"""The parameters that are trained: one layer of heads over fixed word vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qkv_cli.core.arrays import Array

Parameters = dict[str, Array]


@dataclass(frozen=True, slots=True)
class HeadShape:
    """The sizes of the heads."""

    d_model: int
    n_heads: int = 8
    d_head: int = 16
    clip: int = 16  # relative offsets beyond it share a bias

    @property
    def d_inner(self) -> int:
        return self.n_heads * self.d_head


def initial_parameters(shape: HeadShape, seed: int) -> Parameters:
    """Return Glorot-normal projections and zero biases; a word does not attend to itself.

    Returns:
        W_Q W_K W_V [d_model, n_heads * d_head], W_O [n_heads * d_head, d_model], their
        biases (c is W_O's, [d_model]), and offset, [2 * clip + 1, n_heads].
    """
    rng = np.random.default_rng(seed)
    d_model, d_inner = shape.d_model, shape.d_inner
    std = (2 / (d_model + d_inner)) ** 0.5
    p: Parameters = {}
    for name in "QKV":
        p[f"W_{name}"] = rng.normal(0, std, (d_model, d_inner)).astype(np.float32)
        p[f"b_{name}"] = np.zeros(d_inner, np.float32)
    p["W_O"] = rng.normal(0, std, (d_inner, d_model)).astype(np.float32)
    p["c"] = np.zeros(d_model, np.float32)
    p["offset"] = np.zeros((2 * shape.clip + 1, shape.n_heads), np.float32)
    p["offset"][shape.clip] = -np.inf
    return p


def as_tensors(parameters: Mapping[str, Array], mean: Array) -> dict[str, Array]:
    """Return the tensors of model.safetensors, with the names and layout of a torch module.

    Args:
        mean: The mean that is subtracted from the word vectors, [d_model].
    """
    p = parameters
    tensors = {f"attn.{n.lower()}.weight": p[f"W_{n}"].T for n in "QKVO"}
    tensors |= {f"attn.{n.lower()}.bias": p[f"b_{n}"] for n in "QKV"}
    tensors |= {"attn.o.bias": p["c"], "attn.offset_bias": p["offset"], "embed.mean": mean}
    return {name: np.ascontiguousarray(t, dtype=np.float32) for name, t in tensors.items()}


def centre_and_scale(rows: Array, mean: Array) -> Array:
    """Subtract the mean from word vectors, then scale them to unit root mean square.

    Args:
        rows: [n_words, d_model].
    """
    x = (rows - mean).astype(np.float32)
    unit: Array = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + 1e-12)
    return unit
