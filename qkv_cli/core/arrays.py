"""Array types, and tensors in the form in which a file stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.errors import CheckpointError

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]  # True where a query can see a key


class BFloat16(np.ndarray[Any, np.dtype[np.uint16]]):
    """The bits of bfloat16 numbers, which numpy lacks: the upper half of a float32."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor in a file's own format, such as a quantised one; unpacked when it is used."""

    shape: tuple[int, ...]
    unpack: Callable[[], Array]
    rows: Callable[[Any], Array]  # the rows of these indices only
    name: str = ""  # the name in the file, if the adapters use another

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
    """Whether a tensor cannot be a weight: int64, or a type that is not implemented."""
    if isinstance(tensor, Packed):
        return isinstance(tensor, Unreadable)
    return tensor.dtype == np.int64


def float32(x: Stored) -> Array:
    """Return a tensor as float32, without a copy if it is float32 already."""
    if isinstance(x, Packed):
        return x.unpack()
    if isinstance(x, BFloat16):
        return (np.asarray(x).astype(np.uint32) << 16).view(np.float32)
    return np.asarray(x, dtype=np.float32)


def float64(x: Array) -> Array:
    """Return a copy in double precision, for sums."""
    return np.array(x, dtype=np.float64)


def largest_magnitude(x: Array) -> float:
    """Return the largest magnitude; NaN or infinity if there is one."""
    return max(float(x.max(initial=0)), -float(x.min(initial=0)))


def largest_indices(x: Array, n: int) -> list[int]:
    """Return the flat indices of the n numbers furthest from 0, the first of equal ones first.

    Zeros and NaN are left out.
    """
    magnitudes = np.abs(np.nan_to_num(x)).ravel()
    # Sorting all weights of a long text would take longer than drawing them.
    least = np.partition(magnitudes, -n)[-n] if 0 < n < magnitudes.size else 0.0
    candidates = np.flatnonzero((magnitudes >= least) & (magnitudes > 0))
    order = candidates[np.argsort(-magnitudes[candidates], kind="stable")[:n]]
    return [int(i) for i in order]
