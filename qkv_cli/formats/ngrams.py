"""fastText's character n-grams, from which any word gets a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError

NGRAMS = "ngrams.safetensors"  # the file of a model folder whose vectors are from a fastText .bin
_MAX_N = 30  # Longer n-grams are refused, since the time per word is proportional to the length.
_BATCH = 1024  # words whose n-grams are summed at once


@dataclass(frozen=True, slots=True)
class Ngrams:
    """The vectors of the buckets to which n-grams are hashed; may be memory-mapped."""

    table: NDArray[np.float32]  # [n_buckets, d_model]
    min_n: int  # characters of the shortest n-gram
    max_n: int

    def buckets(self, word: str) -> list[int]:
        """Return the bucket of each n-gram of `<word>`, in fastText's order.

        The hash is FNV-1a of the UTF-8 bytes, each sign-extended (a bug of the original, on which
        every published model depends): Dictionary::computeSubwords, Dictionary::hash.
        """
        utf8 = f"<{word}>".encode()
        starts = [at for at, byte in enumerate(utf8) if byte & 0xC0 != 0x80] + [len(utf8)]
        buckets = []
        for first_char in range(len(starts) - 1):
            code = 2166136261
            for n, (at, end) in enumerate(
                pairwise(starts[first_char : first_char + self.max_n + 1]), 1
            ):
                for byte in utf8[at:end]:
                    code = (code ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619
                    code &= 0xFFFFFFFF
                is_edge = n == 1 and (first_char == 0 or end == len(utf8))
                if n >= self.min_n and not is_edge:
                    buckets.append(code % len(self.table))
        return buckets

    def row(self, word: str) -> Array:
        """Return the mean vector of the word's n-grams, [d_model]; zeros if it has none."""
        buckets = self.buckets(word)
        total = np.zeros(self.table.shape[1], np.float32)
        for bucket in buckets:
            total += self.table[bucket]
        return total / np.float32(max(1, len(buckets)))

    def average_with_ngrams(self, rows: Array, words: Sequence[str]) -> None:
        """Replace vectors of words by the mean of their own vector and of their n-grams, in place.

        Rows are added in the order of fastText, since float32 sums depend on the order.

        Args:
            rows: [n_words, d_model].
        """
        for start in range(0, len(words), _BATCH):
            batch = rows[start : start + _BATCH]
            buckets_of_words = [self.buckets(word) for word in words[start : start + _BATCH]]
            n_ngrams = np.array([len(word_buckets) for word_buckets in buckets_of_words])
            for position in range(n_ngrams.max()):
                long_words = np.flatnonzero(n_ngrams > position)
                batch[long_words] += self.table[[buckets_of_words[i][position] for i in long_words]]
            batch /= (n_ngrams + 1).astype(np.float32)[:, None]


def ngrams_of(name: object, table: NDArray[np.float32], min_n: int, max_n: int) -> Ngrams | None:
    """Return the n-grams of a file; None if there are no buckets or no valid lengths.

    Args:
        name: The name of the file in errors.

    Raises:
        CheckpointError: The n-grams are too long.
    """
    if not len(table) or max_n < max(1, min_n):
        return None
    if max_n > _MAX_N:
        raise CheckpointError(
            f"{name} has n-grams of up to {max_n:,} characters; the maximum is {_MAX_N}."
        )
    return Ngrams(table, min_n, max_n)


def pack_ngrams(ngrams: Ngrams) -> dict[str, NDArray[Any]]:
    """Return the tensors that `unpack_ngrams` reads."""
    lengths = np.array([ngrams.min_n, ngrams.max_n], np.int32)
    return {"ngrams.lengths": lengths, "ngrams.weight": ngrams.table}


def unpack_ngrams(tensors: Mapping[str, NDArray[Any]], d_model: int) -> Ngrams:
    """Return the n-grams of a model folder.

    Raises:
        CheckpointError: A tensor is missing, has another size, or contains invalid lengths.
    """
    try:
        table, lengths = tensors["ngrams.weight"], tensors["ngrams.lengths"]
    except KeyError as error:
        raise CheckpointError(f"ngrams.safetensors has no tensor {error}.") from error
    if table.ndim != 2 or not len(table) or table.shape[1] != d_model or lengths.shape != (2,):
        raise CheckpointError(
            f"ngrams.weight has shape {list(table.shape)} and ngrams.lengths "
            f"{list(lengths.shape)}; expected [n_buckets, {d_model}] and [2]."
        )
    ngrams = None
    if lengths.dtype.kind in "iu":
        ngrams = ngrams_of("The model", table, int(lengths[0]), int(lengths[1]))
    if ngrams is None:
        raise CheckpointError(
            f"ngrams.lengths is [{lengths[0]}, {lengths[1]}]; expected two whole numbers, the "
            "lengths of the shortest and the longest n-gram."
        )
    return ngrams
