"""Numbers as text: the shortest decimal that reads back as the same float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array


def shortest(x: Array) -> NDArray[np.float64]:
    """The double nearest to the shortest decimal of each float32.

    Six to nine significant digits are tried, nine always suffice. A whole number over a
    power of ten up to 10**22 is divided exactly rounded, so each trial is the very double
    that a reader of its decimal gets. What lies outside that range keeps its digits.
    """
    x = np.asarray(x, dtype=np.float32)
    found = x.astype(np.float64)
    magnitude = np.abs(found)
    left = np.flatnonzero((magnitude >= 1e-13) & (magnitude < 1e9))
    exponent = np.floor(np.log10(magnitude.flat[left]))
    for digits in (6, 7, 8, 9):
        power = 10.0 ** np.clip(digits - 1 - exponent, 0, 22)
        trial = np.rint(found.flat[left] * power) / power
        same = trial.astype(np.float32) == x.flat[left]
        found.flat[left[same]] = trial[same]
        left, exponent = left[~same], exponent[~same]
    return found


def decimals(matrix: Array) -> list[str]:
    """Each row of [n_rows, n_columns] as its numbers between commas; -inf stays `-inf`.

    One format call a row: a third of the time of a call a number.
    """
    template = ",".join(["%.9g"] * matrix.shape[1])
    return [template % tuple(row) for row in shortest(matrix).tolist()]
