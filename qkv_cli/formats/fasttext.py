"""fastText's binary files (.bin): words, their vectors, and character n-grams.

Layout: https://github.com/facebookresearch/fastText, Args::save, Dictionary::save,
DenseMatrix::save. A word's vector is the mean of its own row and of its n-grams' rows.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.ngrams import Ngrams, ngrams_of
from qkv_cli.formats.word2vec import Advance

_MAGIC = 793712314
_SUPERVISED = 3  # model_name::sup
_WORD = 0  # entry_type::word; 1 is a label
_STEP = 1 << 14  # words between two calls of `advance`


@dataclass(frozen=True, slots=True)
class _Settings:
    """The settings of a file that are used."""

    is_new: bool  # files since version 0.1 of 2017 start with a magic number
    model: int
    n_buckets: int
    min_n: int
    max_n: int
    end: int  # byte after the settings

    @classmethod
    def read(cls, data: mmap) -> _Settings:
        is_new = struct.unpack_from("<i", data)[0] == _MAGIC
        values = struct.unpack_from("<12i", data, 8 if is_new else 0)
        model, n_buckets, min_n, max_n = values[7:11]
        end = 64 if is_new else 56
        return cls(is_new, model, n_buckets, min_n, max_n, end)


def is_fasttext(head: bytes) -> bool:
    """Whether a file starts with fastText's magic number, or with the settings of an older file."""
    if len(head) < 48:
        return False
    magic, *settings = struct.unpack_from("<12i", head)
    if magic == _MAGIC:
        return True
    loss, model = settings[5], settings[6]
    return 0 < magic <= 1 << 16 and loss in (1, 2, 3) and model in (1, 2, 3)


def read_fasttext(
    data: mmap, path: Path, name: Path, encoding: str, limit: int | None, advance: Advance
) -> tuple[list[str], Array, Ngrams | None]:
    """Return the words, their vectors, [n_words, d_model], and the n-grams, if there are any.

    Raises:
        CheckpointError: The file is a classifier, quantised or truncated, or its n-grams are too
            long.
    """
    try:
        settings = _Settings.read(data)
        if settings.model == _SUPERVISED:
            raise CheckpointError(f"{name} is a fastText classifier; expected word vectors.")
        words, n_entries, at = _read_dictionary(data, settings)
        if settings.is_new and data[at]:
            raise CheckpointError(
                f"{name} is quantized (.ftz), which is not implemented; use the original .bin."
            )
        shape, start, end = _find_matrix(data, at + settings.is_new)
        _find_matrix(data, end + settings.is_new)  # the output matrix, which must be there
    except (ValueError, IndexError, struct.error) as error:
        raise CheckpointError(f"{name} is a truncated fastText file: {error}.") from error
    table = np.asarray(np.memmap(path, "<f4", "r", start, shape))
    n_word_rows = len(table) - settings.n_buckets
    # fastText counts rows for the words only; gensim writes one for each entry.
    if settings.n_buckets < 0 or n_word_rows not in (len(words), n_entries):
        raise CheckpointError(
            f"{name} is corrupt: it has {len(words):,} words and {settings.n_buckets:,} buckets, "
            f"but {len(table):,} vectors."
        )
    ngrams = ngrams_of(name, table[n_word_rows:], settings.min_n, settings.max_n)
    return _word_vectors(words[:limit], table, ngrams, encoding, advance)


def _word_vectors(
    word_bytes: list[bytes],
    table: NDArray[np.float32],
    ngrams: Ngrams | None,
    encoding: str,
    advance: Advance,
) -> tuple[list[str], Array, Ngrams | None]:
    # As in gensim; fastText itself never decodes the bytes of words.
    words = [word.decode(encoding, errors="backslashreplace") for word in word_bytes]
    rows = np.array(table[: len(words)])
    if ngrams is None:
        return words, rows, None
    for start in range(0, len(words), _STEP):
        batch = slice(start, start + _STEP)
        ngrams.average_with_ngrams(rows[batch], words[batch])
        advance(start, len(words))
    return words, rows, ngrams


def _read_dictionary(data: mmap, settings: _Settings) -> tuple[list[bytes], int, int]:
    """Return the words as bytes, the number of words and labels, and the byte after them."""
    at = settings.end
    n_entries, n_words, _ = struct.unpack_from("<3i", data, at)
    n_pruned = struct.unpack_from("<q", data, at + 20)[0] if settings.is_new else 0
    at += 28 if settings.is_new else 20
    words = []
    for i in range(n_entries):
        if (end := data.find(b"\0", at)) < 0:
            raise ValueError("its word list is incomplete")
        if i < n_words:
            if data[end + 9] != _WORD:
                raise ValueError("its words and labels are mixed")
            words.append(data[at:end])
        at = end + 10
    return words, n_entries, at + 8 * max(n_pruned, 0)


def _find_matrix(data: mmap, at: int) -> tuple[tuple[int, int], int, int]:
    """Return the shape of a matrix, and the first and last byte of its numbers."""
    n_rows, d_model = struct.unpack_from("<2q", data, at)
    start, end = at + 16, at + 16 + 4 * n_rows * d_model
    if n_rows < 1 or d_model < 1 or end > len(data):
        raise ValueError(f"a matrix of {n_rows} x {d_model} numbers exceeds the file size")
    return (n_rows, d_model), start, end
