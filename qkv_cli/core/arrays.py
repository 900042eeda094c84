"""The one array type, and the elementwise functions that architectures share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qkv_cli.errors import CheckpointError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]  # True where a query can see a key
Activation = Callable[[Array], Array]
Item = TypeVar("Item")

# Those that this process may use.
N_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
BLOCK = 1 << 16  # numbers that a cache holds several times
WORTH_SHARING = 1 << 25  # multiplications: less is done before another core has woken up

# Of P, fitted so that x / (1 + exp(x P(x²))) is x Phi(x) within 1e-7: numpy has no erf. Beyond
# x² = 36 that is 0, or x.
_GELU = (
    -1.595768428,
    -0.07266856651,
    6.625948043e-05,
    1.104804818e-04,
    -7.938242587e-06,
    2.668943302e-07,
    -3.611267533e-09,
)


class BFloat16(np.ndarray[Any, np.dtype[np.uint16]]):
    """The bits of bfloat16 numbers, which numpy does not know: the upper half of a float32."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Numbers that a file keeps in a form of its own, unpacked when they are used."""

    shape: tuple[int, ...]
    unpack: Callable[[], Array]
    rows: Callable[[Any], Array]  # the rows of these indices only
    name: str = ""  # as the file calls them, where the adapters say it otherwise

    def __getitem__(self, rows: Any) -> Array:
        return self.rows(rows)

    def __len__(self) -> int:
        return self.shape[0]


class Unreadable(Packed):
    """A tensor of a type that is not implemented: it has a shape, its numbers cannot be read."""

    __slots__ = ()

    @classmethod
    def of(cls, name: str, kind: str, shape: tuple[int, ...], kinds: Iterable[str]) -> Unreadable:
        """A tensor whose numbers raise a CheckpointError.

        Args:
            kind: Its type, as the file names it.
            kinds: The types that are read.
        """

        def refuse(rows: Any = None) -> Array:
            raise CheckpointError(
                f"Tensor {name!r} has type {kind}, which is not implemented; implemented: "
                f"{', '.join(kinds)}."
            )

        return cls(shape, refuse, refuse)


Stored = NDArray[Any] | Packed


def is_buffer(tensor: Stored) -> bool:
    """Whether it cannot be a weight: whole numbers, or a type that is not implemented."""
    if isinstance(tensor, Packed):
        return isinstance(tensor, Unreadable)
    return tensor.dtype == np.int64


def share_out(run: Callable[[slice], None], n_rows: int, n_parts: int, work: int) -> None:
    """Call `run` on parts of the rows, on all cores; on all rows at once if there is little work.

    Args:
        work: Multiplications.
    """
    if work < WORTH_SHARING:
        run(slice(0, n_rows))
    else:
        parallel(run, parts(n_rows, n_parts))


def parts(n_rows: int, n_parts: int) -> list[slice]:
    """Rows in so many parts, of one size but for the last."""
    step = -(-n_rows // max(1, n_parts))
    return [slice(at, at + step) for at in range(0, n_rows, step)]


def parallel(run: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Call `run` on each item, on all cores: numpy computes outside of Python's lock."""
    left = iter(items)

    def work() -> None:
        with np.errstate(all="ignore"):  # a thread has none of its caller's; see `Model.layers`
            for item in left:
                run(item)

    helpers = [_threads().submit(work) for _ in range(N_CORES - 1)]
    work()
    for helper in helpers:
        if not helper.cancel():
            helper.result()


@cache
def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(N_CORES)


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


def softmax(x: Array, out: Array | None = None) -> Array:
    """Softmax over the last axis. A row that is all -inf becomes all zeros."""
    top = x.max(axis=-1, keepdims=True)
    e: Array = np.subtract(x, np.where(np.isfinite(top), top, x.dtype.type(0)), out=out)
    np.exp(e, out=e)
    total = e.sum(axis=-1, keepdims=True)
    e /= np.where(total == 0.0, x.dtype.type(1), total)
    return e


def gelu(x: Array) -> Array:
    """x times the normal distribution's share below x (Hendrycks and Gimpel 2016)."""
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


def relu6(x: Array) -> Array:
    return np.clip(x, 0.0, 6.0)


def leaky_relu(x: Array) -> Array:
    return np.where(x < 0, np.float32(0.01) * x, x)


def mish(x: Array) -> Array:
    """x tanh(softplus(x)) (Misra 2019, arXiv 1908.08681)."""
    return x * np.tanh(np.logaddexp(x, np.float32(0)))


def identity(x: Array) -> Array:
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
