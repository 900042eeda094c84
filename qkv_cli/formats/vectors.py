"""Word-vector files of other tools.

word2vec (text and binary), GloVe and fastText (.vec and .bin) are recognised by content; gensim's
own pickles are opened by gensim, only if the user allows it.
"""

from __future__ import annotations

import logging
import mmap
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError, StoreError
from qkv_cli.formats.fasttext import is_fasttext, read_fasttext
from qkv_cli.formats.ngrams import Ngrams, ngrams_of
from qkv_cli.formats.word2vec import Advance, read_binary_vectors, read_layout, read_text_vectors

_HEAD = 1 << 16
# Protocols 2 and later start with their number, 0 and 1 with a class name or a container.
_PICKLE = re.compile(rb"\x80[\2-\5]|ccopy_?reg\n|cgensim[\w.]*\n|\((?:dp|lp)\d+\n|[\]}]q[\0-\x1f]")
# The exceptions of gensim for invalid pickles.
_BROKEN = (
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


@dataclass(frozen=True, slots=True)
class Vectors:
    """The distinct words of a file, in its order (frequent words first), and their vectors."""

    words: Sequence[str]
    rows: Array  # [n_words, d_model], float32
    ngrams: Ngrams | None = None  # of a fastText .bin, for unknown words
    n_repeated: int = 0  # the number of words with several entries


def read_vectors(
    path: Path,
    *,
    original: Path | None = None,
    encoding: str = "utf-8",
    limit: int | None = None,
    allow_pickle: bool = False,
    advance: Advance = lambda n_done, n_total: None,
) -> Vectors:
    """Read the vectors of a file; of several entries for a word, the first.

    Args:
        path: An uncompressed file.
        original: The name of the file in errors.
        limit: Read only the first rows.
        allow_pickle: Open gensim's own files. Loading a pickle can run arbitrary code.

    Raises:
        CheckpointError: The file is of another type, corrupt, or a pickle that is not allowed.
    """
    original = original or path
    try:
        with np.errstate(over="ignore"):  # a number too large for float32 is refused below
            vectors = _read_any(path, original, encoding, limit, allow_pickle, advance)
    except MemoryError as error:
        raise CheckpointError(
            f"{original} does not fit into memory; use --limit N to read only the first N words."
        ) from error
    words, rows = vectors.words, vectors.rows
    if not words or rows.ndim != 2 or len(rows) != len(words) or not rows.shape[1]:
        raise CheckpointError(f"{original} contains no words with vectors.")
    is_finite = np.isfinite(rows).all(axis=1)
    if not is_finite.all():
        word = words[int(is_finite.argmin())]
        raise CheckpointError(
            f"{original}: the vector of {word!r} contains NaN, infinity or a number that exceeds "
            "the range of float32 (3.4e38)."
        )
    return _drop_repeated(vectors)


def _drop_repeated(vectors: Vectors) -> Vectors:
    """Return each word once, with its first vector."""
    first_rows: dict[str, int] = {}
    repeated_words = set()
    for i, word in enumerate(vectors.words):
        if first_rows.setdefault(word, i) != i:
            repeated_words.add(word)
    if not repeated_words:
        return vectors
    rows = vectors.rows[list(first_rows.values())]
    return replace(vectors, words=list(first_rows), rows=rows, n_repeated=len(repeated_words))


def nearest_words(
    words: Sequence[str], rows: Array, vector: Array, n: int
) -> list[tuple[str, float]]:
    """Return the n words with the largest cosine, as gensim's most_similar does."""
    model = _gensim_models().KeyedVectors(rows.shape[1])
    model.vectors, model.index_to_key = rows, words
    return [(str(w), float(s)) for w, s in model.similar_by_vector(vector, n)]


def _read_any(
    path: Path,
    original: Path,
    encoding: str,
    limit: int | None,
    allow_pickle: bool,
    advance: Advance,
) -> Vectors:
    with _map_file(path) as data:
        head = bytes(data[:_HEAD])
        if _PICKLE.match(head):
            if not allow_pickle:
                raise CheckpointError(
                    f"{original} is a pickle, and loading a pickle can run any code: use "
                    "--allow-pickle if you trust its author."
                )
            return _unpickle(path, original, limit)
        if is_fasttext(head):
            return Vectors(*read_fasttext(data, path, original, encoding, limit, advance))
        layout = read_layout(data, original, encoding)
        read_file = read_binary_vectors if layout.is_binary else read_text_vectors
        return Vectors(*read_file(data, layout, limit, advance))


def _unpickle(path: Path, original: Path, limit: int | None) -> Vectors:
    _gensim_models()
    from gensim.utils import unpickle

    try:
        model = type(unpickle(str(path))).load(str(path))
        keyed = getattr(model, "wv", model)
        if not hasattr(keyed, "index_to_key"):
            raise ValueError(f"it contains a {type(model).__name__}, which has no word vectors")
        words = [str(word) for word in keyed.index_to_key[:limit]]
        rows = np.asarray(keyed.vectors, dtype=np.float32)[:limit]
        ngrams, table = None, getattr(keyed, "vectors_ngrams", None)
        # Some old files have fewer rows than buckets: gensim cannot use those either.
        if table is not None and len(table) == keyed.bucket > 0:
            ngrams = ngrams_of(original, np.asarray(table, np.float32), keyed.min_n, keyed.max_n)
    except _BROKEN as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise CheckpointError(f"Could not read {original}: {reason}.") from error
    return Vectors(words, rows, ngrams)


def _gensim_models() -> Any:
    try:
        from gensim import models
    except ImportError as error:
        raise StoreError(
            "gensim, which is needed for its own files and for neighbors, is not installed: "
            "`pip install gensim` (no wheel for Python 3.14 yet)."
        ) from error
    # gensim's own messages about corrupt files are dropped; the error replaces them.
    logging.getLogger("gensim").addHandler(logging.NullHandler())
    return models


@contextmanager
def _map_file(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
    except ValueError as error:
        if path.stat().st_size:
            raise
        raise CheckpointError(f"{path} is empty.") from error
