"""Work on several cores, and the memory layout of attention's arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from qkv_cli.core.arrays import Array

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Item = TypeVar("Item")

# The number of cores that this process may use.
N_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
BLOCK = 1 << 16  # numbers per block, so that several blocks fit in the cache
WORTH_SHARING = 1 << 25  # multiplications; with fewer, one core ends before another wakes up


def share_out(run: Callable[[slice], None], n_rows: int, n_parts: int, work: int) -> None:
    """Call `run` on slices of the rows, on all cores; on all rows at once if there is little work.

    Args:
        work: The number of multiplications.
    """
    if work < WORTH_SHARING:
        run(slice(0, n_rows))
    else:
        parallel(run, parts(n_rows, n_parts))


def parts(n_rows: int, n_parts: int) -> list[slice]:
    """Return at most `n_parts` slices of equal size that cover the rows; the last may be short."""
    step = max(1, -(-n_rows // max(1, n_parts)))
    return [slice(at, at + step) for at in range(0, n_rows, step)]


def parallel(run: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Call `run` on each item, on all cores; numpy releases the GIL while it computes."""
    remaining = iter(items)

    def work() -> None:
        with np.errstate(all="ignore"):  # threads do not inherit errstate; see `Model.layers`
            for item in remaining:
                run(item)

    helpers = [_threads().submit(work) for _ in range(N_CORES - 1)]
    work()
    for helper in helpers:
        if not helper.cancel():  # one that has not started has nothing left to do
            helper.result()


@cache
def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(N_CORES)


def share_out_heads(attend: Callable[[slice], None], scores: Array, d_heads: int) -> None:
    """Call `attend` on slices of the heads, on all cores; a slice's scores fit in the cache.

    Args:
        scores: [n_heads, n_query, n_key].
        d_heads: The sizes of a query and of a value, added.
    """
    n_parts = max(N_CORES, scores.size // BLOCK)
    share_out(attend, len(scores), n_parts, scores.size * d_heads)


def matmul(a: Array, b: Array, out: Array) -> Array:
    """Return a @ b, written to `out`; NaN and infinity are found later, so numpy does not warn."""
    with np.errstate(invalid="ignore"):
        return np.matmul(a, b, out=out)


def empty_queries_last(n_heads: int, n_query: int, width: int, dtype: np.dtype[Any]) -> Array:
    """Return an empty [n_heads, n_query, width] whose queries are adjacent in memory.

    Sums over a row then add whole vectors, which numpy does several times faster.
    """
    return np.empty((n_heads, width, n_query), dtype).swapaxes(-1, -2)
