"""Disentangled attention: scores for where a key stands that depend on what the words are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.core.attention import split_heads

if TYPE_CHECKING:
    from qkv_cli.core.layers import Linear


@dataclass(frozen=True, slots=True)
class Disentangled:
    """Keys and queries of relative positions, beside those of the words.

    He et al. 2021 (DeBERTa, arXiv 2006.03654), section 3.1: a query meets the key of its distance
    to each word (content to position), and a key the query of that distance (position to content).
    """

    table: Array  # [2 * span, d_model], a vector for each distance from -span to span - 1
    k: Linear | None  # makes keys of the table; None without content to position
    q: Linear | None  # makes queries of it; None without position to content
    n_buckets: int | None = None  # distances beyond half of it share rows, see `log_buckets`
    max_distance: int = 0

    def __call__(self, q: Array, k: Array) -> Array:
        """What to add to q @ k.T, [n_heads, n_query, n_key], before it is scaled."""
        none = np.zeros((len(q), q.shape[1], k.shape[1]), q.dtype)
        return sum(self.terms(q, k).values(), start=none)

    def terms(self, q: Array, k: Array) -> dict[str, Array]:
        """The same in its parts: c2p, content to position, and p2c, position to content.

        Args:
            q: Queries, [n_heads, n_query, d_head].
            k: Keys, [n_heads, n_key, d_head].
        """
        rows = self._rows(q.shape[1], k.shape[1])[None]
        first = rows.min()  # a short text has few distances
        table, rows = self.table[first : rows.max() + 1], rows - first
        found: dict[str, Array] = {}
        if self.k is not None:
            keys = split_heads(self.k(table), q.shape[-1])  # [n_heads, n_distances, d_head]
            found["c2p"] = np.take_along_axis(q @ keys.swapaxes(-1, -2), rows, axis=2)
        if self.q is not None:
            queries = split_heads(self.q(table), q.shape[-1])
            found["p2c"] = np.take_along_axis(queries @ k.swapaxes(-1, -2), rows, axis=1)
        return found

    def _rows(self, n_query: int, n_key: int) -> NDArray[np.intp]:
        """[n_query, n_key]: the table's row for the distance from key to query."""
        distance = np.arange(n_query)[:, None] - np.arange(n_key)[None, :]
        if self.n_buckets is not None:
            distance = log_buckets(distance, self.n_buckets, self.max_distance)
        span = len(self.table) // 2
        rows: NDArray[np.intp] = np.clip(distance + span, 0, 2 * span - 1)
        return rows


def log_buckets(distance: NDArray[np.intp], n_buckets: int, max_distance: int) -> NDArray[np.intp]:
    """Distances as they are up to half of the buckets, further ones ever more to a bucket."""
    exact = n_buckets // 2
    # In float32, as the models were trained: a distance on a bucket's edge must not change sides.
    far = np.maximum(np.abs(distance), exact).astype(np.float32)
    ratio = np.log(far / np.float32(exact)) / np.log(np.float32((max_distance - 1) / exact))
    beyond = (np.ceil(ratio * np.float32(exact - 1)) + exact).astype(np.intp)
    return np.where(np.abs(distance) <= exact, distance, np.sign(distance) * beyond)
