"""The one array type, and the elementwise functions that architectures share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Activation = Callable[[Array], Array]

# Abramowitz and Stegun 7.1.26, |error| < 1.5e-7: numpy has no erf.
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


class BFloat16(np.ndarray[Any, np.dtype[np.uint16]]):
    """The bits of bfloat16 numbers, which numpy does not know: the upper half of a float32."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Numbers that a file keeps in a form of its own, unpacked when they are used."""

    shape: tuple[int, ...]
    unpack: Callable[[], Array]
    rows: Callable[[Any], Array]  # the rows of these indices only

    def __getitem__(self, rows: Any) -> Array:
        return self.rows(rows)

    def __len__(self) -> int:
        return self.shape[0]


Stored = NDArray[Any] | Packed


def float32(x: Stored) -> Array:
    """The same numbers as float32; no copy where they are."""
    if isinstance(x, Packed):
        return x.unpack()
    if isinstance(x, BFloat16):
        return (np.asarray(x).astype(np.uint32) << 16).view(np.float32)
    return np.asarray(x, dtype=np.float32)


def float64(x: Array) -> Array:
    """A copy to sum in: the same numbers in double precision."""
    return np.array(x, dtype=np.float64)


def softmax(x: Array) -> Array:
    """Softmax over the last axis. A row that is all -inf becomes all zeros."""
    top = x.max(axis=-1, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(top), top, 0.0))
    total = e.sum(axis=-1, keepdims=True)
    out: Array = e / np.where(total == 0.0, 1.0, total)
    return out


def erf(x: Array) -> Array:
    size = np.abs(x)
    t = 1.0 / (1.0 + 0.3275911 * size)
    poly = np.zeros_like(x)
    for c in reversed(_ERF):
        poly = (poly + c) * t
    out: Array = np.copysign(1.0 - poly * np.exp(-size * size), x)
    return out


def gelu(x: Array) -> Array:
    """x times the normal distribution's share below x (Hendrycks and Gimpel 2016)."""
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


def gelu_tanh(x: Array) -> Array:
    """The same paper's approximation."""
    # x**3 is many times slower than x * x * x on float32.
    out: Array = 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
    return out


def quick_gelu(x: Array) -> Array:
    return x * sigmoid(1.702 * x)


def sigmoid(x: Array) -> Array:
    # Half a tanh never overflows.
    out: Array = 0.5 * (1.0 + np.tanh(0.5 * x))
    return out


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def relu_squared(x: Array) -> Array:
    y = relu(x)
    return y * y


# By the names that configs use.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_fast": gelu_tanh,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": relu,
    "relu2": relu_squared,
    "silu": silu,
    "swish": silu,
}
