"""Conversion of word-vector files into model folders, which are memory-mapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qkv_cli.checkpoints.adapters.word_vectors import identity_heads
from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.ngrams import NGRAMS, Ngrams, pack_ngrams
from qkv_cli.formats.safetensors import write_tensors
from qkv_cli.formats.vectors import Vectors, read_vectors
from qkv_cli.formats.word2vec import Advance
from qkv_cli.store.folder import place_model, write_heads, write_provenance, write_vectors
from qkv_cli.store.unpack import unpack_file

RAREST = 1000  # rows whose mean is used for unknown words
_BLOCK = 1 << 22  # numbers that are checked at once


@dataclass(frozen=True, slots=True)
class Conversion:
    """The result of a conversion."""

    n_words: int
    notes: tuple[str, ...]  # for the user


def add_vectors(
    folder: Path,
    source: Path,
    *,
    name: str,
    encoding: str = "utf-8",
    limit: int | None = None,
    allow_pickle: bool = False,
    keep_ngrams: bool = True,
    facts: Mapping[str, object] | None = None,
    advance: Advance = lambda n_done, n_total: None,
) -> Conversion:
    """Convert a file of vectors into a model folder with one identity head.

    Args:
        source: See `formats.vectors`; a compressed file is unpacked next to `folder`.
        limit: Keep only the first words.
        allow_pickle: Open gensim's own files, which are pickles.
        keep_ngrams: Keep the n-grams of a fastText .bin, 4 * d_model bytes for each bucket.
        facts: The source of the file, if it was downloaded.

    Raises:
        CheckpointError: The file is corrupt or of another type.
        StoreError: The folder cannot be written.
    """
    with place_model(folder) as temporary, unpack_file(source, temporary.parent) as unpacked:
        vectors = read_vectors(
            unpacked,
            original=source,
            encoding=encoding,
            limit=limit,
            allow_pickle=allow_pickle,
            advance=advance,
        )
        if not keep_ngrams:
            vectors = replace(vectors, ngrams=None)
        if vectors.ngrams is not None:
            _check_finite(vectors.ngrams, source)
            write_tensors(temporary / NGRAMS, pack_ngrams(vectors.ngrams))
        words, rows = vectors.words, vectors.rows
        weight = np.concatenate([rows, unknown_row(rows)])
        tensors = {"embed.weight": weight}
        write_vectors(temporary, words, tensors, lowercase=True, joins_pieces=True)
        config = _config(name, vectors, source)
        if facts is not None:
            config |= {"licence": facts["licence"]}
            write_provenance(temporary, facts)
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        write_heads(temporary, config, identity_heads(rows.shape[1], mean))
    return Conversion(len(words), tuple(_notes(vectors, source)))


def _config(name: str, vectors: Vectors, source: Path) -> dict[str, Any]:
    n_words, d_model = vectors.rows.shape
    description = f"{n_words:,} word vectors from {source.name}."
    if vectors.ngrams is not None:
        description += (
            f" Unknown words are built from n-grams of {_lengths(vectors.ngrams)} characters."
        )
    return {
        "model_type": "word-vectors",
        "name": name,
        "n_layers": 1,
        "n_heads": 1,
        "d_model": d_model,
        "d_head": d_model,
        "d_vocab": n_words + 1,
        "origin": "identity: Q = K = V = e (the word vectors), untrained",
        "about": description,
    }


def _notes(vectors: Vectors, source: Path) -> list[str]:
    notes = []
    if vectors.n_repeated:
        n = vectors.n_repeated
        words = "1 word appears" if n == 1 else f"{n:,} words appear"
        notes.append(f"{words} more than once in {source}: only the first vector of each is used.")
    if vectors.ngrams is not None:
        table = vectors.ngrams.table
        notes.append(
            f"Kept n-grams of {_lengths(vectors.ngrams)} characters in {len(table):,} buckets, "
            f"{4 * table.size / 2**20:,.1f} MiB: they give vectors to words that are not in the "
            "file (use --no-ngrams to leave them out)."
        )
    return notes


def _lengths(ngrams: Ngrams) -> str:
    shortest, longest = ngrams.min_n, ngrams.max_n
    return f"{shortest}" if shortest == longest else f"{shortest} to {longest}"


def _check_finite(ngrams: Ngrams, source: Path) -> None:
    step = max(1, _BLOCK // ngrams.table.shape[1])
    for start in range(0, len(ngrams.table), step):
        if not np.isfinite(ngrams.table[start : start + step]).all():
            raise CheckpointError(f"{source}: an n-gram vector contains NaN or infinity.")


def unknown_row(rows: Array) -> Array:
    """Return the mean of the rarest words, which are last, [1, d_model]."""
    mean: Array = rows[-RAREST:].mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean[None]
