"""Activation functions, by the names that configs use."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from qkv_cli.core.arrays import Array

Activation = Callable[[Array], Array]

# Coefficients of a polynomial P, lowest first, such that x / (1 + exp(x P(x²))) equals x Phi(x)
# within 1e-7, since numpy has no erf. Beyond x² = 36, the result is 0 or x.
_GELU = (
    -1.595768428,
    -0.07266856651,
    6.625948043e-05,
    1.104804818e-04,
    -7.938242587e-06,
    2.668943302e-07,
    -3.611267533e-09,
)


def gelu(x: Array) -> Array:
    """Return x Phi(x), with the normal distribution function Phi (arXiv 1606.08415)."""
    square = x * x
    np.minimum(square, 36.0, out=square)
    y = square * _GELU[-1]
    for c in _GELU[-2:0:-1]:
        y += c
        y *= square
    y += _GELU[0]
    y *= x
    with np.errstate(over="ignore"):  # far below 0: x / inf
        np.exp(y, out=y)
    y += 1.0
    return np.divide(x, y, out=y)


def gelu_tanh(x: Array) -> Array:
    """Approximate `gelu` with tanh (arXiv 1606.08415)."""
    # x**3 is many times slower than x * x * x on float32.
    y: Array = 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
    return y


def quick_gelu(x: Array) -> Array:
    """Approximate `gelu` with a sigmoid (arXiv 1606.08415)."""
    return x * sigmoid(1.702 * x)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    # Unlike 1 / (1 + exp(-x)), tanh does not overflow.
    y: Array = 0.5 * (1.0 + np.tanh(0.5 * x))
    return y


def silu(x: Array) -> Array:
    """Return x sigmoid(x) (Elfwing et al. 2017, arXiv 1702.03118)."""
    return x * sigmoid(x)


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return np.maximum(x, 0.0)


def relu_squared(x: Array) -> Array:
    """Return relu(x)² (So et al. 2021, arXiv 2109.08668)."""
    y = relu(x)
    return y * y


def relu6(x: Array) -> Array:
    """Return x clipped to 0 and 6."""
    return np.clip(x, 0.0, 6.0)


def leaky_relu(x: Array) -> Array:
    """Return x, times 0.01 where it is negative."""
    return np.where(x < 0, np.float32(0.01) * x, x)


def mish(x: Array) -> Array:
    """Return x tanh(softplus(x)) (Misra 2019, arXiv 1908.08681)."""
    return x * np.tanh(np.logaddexp(x, np.float32(0)))


def identity(x: Array) -> Array:
    """Return x."""
    return x


# By the names that configs use.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_fast": gelu_tanh,
    "gelu_new": gelu_tanh,
    "gelu_python": gelu,
    "gelu_pytorch_tanh": gelu_tanh,
    "leaky_relu": leaky_relu,
    "linear": identity,
    "mish": mish,
    "quick_gelu": quick_gelu,
    "relu": relu,
    "relu2": relu_squared,
    "relu6": relu6,
    "sigmoid": sigmoid,
    "silu": silu,
    "swish": silu,
    "tanh": np.tanh,
}
