"""The one array type, and the elementwise functions that architectures share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Array = NDArray[np.floating]
Activation = Callable[[Array], Array]

BLOCK = 1 << 16  # numbers that a cache holds several times

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


def blockwise(f: Callable[[Array], Array], x: Array) -> Array:
    """An elementwise function on blocks of rows, so that what it allocates stays in the cache;
    on all cores where there is much of it.
    """
    if x.size <= BLOCK:
        return f(x)
    out = np.empty_like(x)
    step = max(1, BLOCK * len(x) // x.size)

    def run(at: int) -> None:
        out[at : at + step] = f(x[at : at + step])

    parallel(run, range(0, len(x), step))
    return out


def parallel(run: Callable[[int], None], items: Sequence[int]) -> None:
    """Call `run` on each item, on a thread a core: numpy computes outside of Python's lock."""
    list(_threads().map(run, items))


@cache
def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(os.cpu_count())


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
    e: Array = x - np.where(np.isfinite(top), top, x.dtype.type(0))
    np.exp(e, out=e)
    total = e.sum(axis=-1, keepdims=True)
    e /= np.where(total == 0.0, x.dtype.type(1), total)
    return e


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
    return blockwise(lambda part: 0.5 * part * (1.0 + erf(part / math.sqrt(2.0))), x)


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
    "tanh": np.tanh,
}
