"""Matrices of long texts, whose rows are computed when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Rows
from qkv_cli.core.attention import BLOCK_CELLS
from qkv_cli.errors import UsageError

LARGEST_WHOLE = 1 << 26  # cells of a matrix that may be computed as a whole: 256 MiB as float32


@dataclass(frozen=True, slots=True)
class LazyMatrix:
    """A matrix, [n_rows, n_columns], whose rows are computed when they are read.

    Rows are arrays, as with a numpy array.
    """

    shape: tuple[int, int]
    read: Callable[[Rows], NDArray[Any]]  # [n_rows, n_columns]; a slice has a start and a stop

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> NDArray[Any]:
        if isinstance(rows, slice):
            rows = slice(*rows.indices(len(self))[:2])
        return self.read(rows)


Matrix = NDArray[Any] | LazyMatrix


def row_blocks(matrix: Matrix, cells: int | None = None) -> Iterator[slice]:
    """Yield slices of rows that are read at once; all rows of an array.

    Args:
        cells: The number of cells of a slice, about.
    """
    if not isinstance(matrix, LazyMatrix):
        yield slice(0, len(matrix))
        return
    n_rows = max(1, (cells or BLOCK_CELLS) // max(1, matrix.shape[1]))
    for first in range(0, len(matrix), n_rows):
        yield slice(first, min(first + n_rows, len(matrix)))


def apply_rows(
    function: Callable[..., NDArray[Any]], *matrices: Matrix, n_columns: int | None = None
) -> Matrix:
    """Apply a function of rows to matrices with equal rows; lazily if one of them is lazy.

    Args:
        n_columns: The width of the result, if it differs from that of the first matrix.
    """
    if not any(isinstance(matrix, LazyMatrix) for matrix in matrices):
        return function(*matrices)
    shape = (len(matrices[0]), matrices[0].shape[1] if n_columns is None else n_columns)
    return LazyMatrix(shape, lambda rows: function(*(matrix[rows] for matrix in matrices)))


def combine_rows(
    function: Callable[[Iterator[NDArray[Any]]], NDArray[Any]], matrices: Sequence[Matrix]
) -> Matrix:
    """Combine equal rows of many matrices; lazily if one of them is lazy.

    The function receives the matrices' rows one after the other, so they need not be held at once.
    """
    arrays = [matrix for matrix in matrices if not isinstance(matrix, LazyMatrix)]
    if len(arrays) == len(matrices):
        return function(iter(arrays))
    n_rows, n_columns = matrices[0].shape
    return LazyMatrix(
        (n_rows, n_columns), lambda rows: function(matrix[rows] for matrix in matrices)
    )


def keep_last(matrix: Matrix) -> Matrix:
    """Return a matrix that keeps the rows each thread read last, for readers that take turns."""
    if not isinstance(matrix, LazyMatrix):
        return matrix
    last: dict[int, tuple[slice, NDArray[Any]]] = {}  # by thread

    def read(rows: Rows) -> NDArray[Any]:
        if not isinstance(rows, slice):
            return matrix[rows]
        kept = last.get(get_ident())
        if kept is None or kept[0] != rows:
            last[get_ident()] = kept = rows, matrix[rows]
        return kept[1]

    return LazyMatrix(matrix.shape, read)


def take(matrix: Matrix, rows: slice | Sequence[int], columns: slice | Sequence[int]) -> Matrix:
    """Return the matrix of some rows and columns."""
    if not isinstance(matrix, LazyMatrix):
        return matrix[rows][:, columns]
    row_indices = np.arange(len(matrix))[rows]
    n_columns = len(np.arange(matrix.shape[1])[columns])

    def read(part: Rows) -> NDArray[Any]:
        selected = row_indices[part]
        if not len(selected):
            return np.zeros((0, n_columns))
        if not isinstance(part, slice):
            return matrix[selected][:, columns]
        first = selected[0]
        part_rows: NDArray[Any] = matrix[first : selected[-1] + 1][selected - first][:, columns]
        return part_rows

    return LazyMatrix((len(row_indices), n_columns), read)


def refuse_whole(n_rows: int, n_columns: int, purpose: str) -> None:
    """Raise a UsageError if a map is too large to be computed as a whole.

    Args:
        purpose: What needs it, for the error message.
    """
    if n_rows * n_columns > LARGEST_WHOLE:
        gibibytes = n_rows * n_columns * 4 / 2**30
        raise UsageError(
            f"{purpose} needs whole maps, but {n_rows:,} x {n_columns:,} weights take "
            f"{gibibytes:.1f} GiB of memory: use a text of at most "
            f"{int(LARGEST_WHOLE**0.5):,} tokens."
        )
