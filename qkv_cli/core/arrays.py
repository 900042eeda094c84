"""Array types, and tensors in the form in which a file stores them."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.errors import CheckpointError

_BLOCK = 1 << 19  # numbers that become float32 at once: 2 MiB
_LARGE_FILE = 1 << 29  # bytes

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]  # True where a query can see a key
Rows = slice | NDArray[np.intp]  # some rows of a matrix: a range, or any of them


class BFloat16(np.ndarray[Any, np.dtype[np.uint16]]):
    """The bits of bfloat16 numbers, which numpy lacks: the upper half of a float32."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor in a file's own format, such as a quantised one; unpacked when it is used."""

    shape: tuple[int, ...]
    unpack: Callable[[], Array]
    rows: Callable[[Any], Array]  # the rows of these indices only
    name: str = ""  # the name in the file, if the adapters use another
    data: NDArray[Any] | None = None  # its bytes in the mapped file

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
        return np.left_shift(np.asarray(x), 16, dtype=np.uint32).view(np.float32)
    return np.asarray(x, dtype=np.float32)


def as_float(x: Stored) -> Array:
    """Return a tensor as float32; as float64 if it is stored so."""
    return np.asarray(x) if float_type(x) is np.float64 else float32(x)


def float_type(x: Stored) -> type[np.float32 | np.float64]:
    """Return the type in which a tensor is used: float64 if it is stored so, else float32."""
    is_double = isinstance(x, np.ndarray) and x.dtype == np.float64
    return np.float64 if is_double else np.float32


def _is_wide(x: Stored) -> bool:
    """Whether a tensor is stored as float32 or float64."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.dtype.itemsize >= 4


def widened_bytes(x: Stored) -> int:
    """Return the bytes that a core holds while it widens a block of a matrix; 0 if it does not.

    Quantized numbers are held three times: as float32, and twice while they are unpacked.
    """
    if _is_wide(x):
        return 0
    n_numbers = min(max(_BLOCK, x.shape[1]), x.shape[0] * x.shape[1])
    return 4 * n_numbers * (3 if isinstance(x, Packed) else 1)


def row_blocks(x: Stored, rows: slice) -> list[slice]:
    """Split rows of a matrix so that each block fits in a core's cache when it is float32.

    Rows that are float32 or float64 already are returned as one block.
    """
    if _is_wide(x):
        return [rows]
    first, end, _ = rows.indices(x.shape[0])
    step = max(1, _BLOCK // x.shape[1])
    return [slice(at, min(at + step, end)) for at in range(first, end, step)]


def transposed(x: Stored) -> Stored:
    """Return the transpose of a matrix; of a packed one, unpacked."""
    return x.T if isinstance(x, np.ndarray) else float32(x).T


def select_rows(x: Stored, rows: slice | NDArray[np.intp]) -> Stored:
    """Return some rows of a tensor, which are read when they are used."""
    if isinstance(x, np.ndarray) and isinstance(rows, slice):
        return x[rows]
    index = np.arange(len(x))[rows]
    return Packed(
        shape=(len(index), *x.shape[1:]),
        unpack=lambda: float32(x[rows]),
        rows=lambda some: float32(x[index[some]]),
        data=mapped_bytes(x),
    )


def single_precision(x: Stored) -> Stored:
    """Return a tensor as it is stored, but double precision as float32."""
    return float32(x) if float_type(x) is np.float64 else x


def mapped_bytes(x: Stored) -> NDArray[Any] | None:
    """Return the bytes of a tensor as its file stores them; None if they are not known."""
    return x.data if isinstance(x, Packed) else x


def release(x: Stored) -> None:
    """Let the system reclaim the memory of a tensor's pages, if they are of a large mapped file.

    They are read again if they are used again. The pages of a small file are kept, since reading
    them again costs more than they take.
    """
    data = mapped_bytes(x)
    if data is None or not is_released(x) or (file := mapped_file(data)) is None:
        return
    start = _address(data) - _address(np.frombuffer(file, np.uint8))
    first_page = start // mmap.PAGESIZE * mmap.PAGESIZE
    if hasattr(file, "madvise"):
        file.madvise(mmap.MADV_DONTNEED, first_page, start + data.nbytes - first_page)


def is_released(x: Stored) -> bool:
    """Whether a tensor is part of a large mapped file, so that `release` has an effect."""
    data = mapped_bytes(x)
    file = None if data is None else mapped_file(data)
    return file is not None and len(file) >= _LARGE_FILE


def mapped_file(x: NDArray[Any]) -> mmap.mmap | None:
    """Return the mapped file that an array is part of, if there is one."""
    base: Any = x
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _address(x: NDArray[Any]) -> int:
    return int(x.__array_interface__["data"][0])


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
