"""A file of word vectors, written once as a model folder that opens memory-mapped."""

from __future__ import annotations

import bz2
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from qkv_cli.adapters.word_vectors import identity_heads
from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.vectors import Advance, read_vectors
from qkv_cli.store.folder import placed, sign, write_heads, write_vectors

RAREST = 1000  # rows whose mean stands for unknown words
_COMPRESSED: dict[str, Callable[..., gzip.GzipFile | bz2.BZ2File]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
}


def add_vectors(
    folder: Path,
    source: Path,
    *,
    name: str,
    encoding: str = "utf-8",
    limit: int | None = None,
    allow_pickle: bool = False,
    facts: Mapping[str, object] | None = None,
    advance: Advance = lambda done, total: None,
) -> int:
    """Write a model folder of the vectors in a file, with one identity head; returns the words.

    Args:
        source: See `formats.vectors`; .gz and .bz2 are unpacked beside `folder` meanwhile.
        limit: Only the first so many words.
        allow_pickle: Open gensim's own files, which are pickles.
        facts: Where the file came from, if it was fetched.

    Raises:
        CheckpointError: The file is broken, or none of the kinds.
        StoreError: The disk does not take the folder.
    """
    with placed(folder) as temporary:
        with _unpacked(source, temporary.parent) as plain:
            found = read_vectors(
                plain,
                named=source,
                encoding=encoding,
                limit=limit,
                allow_pickle=allow_pickle,
                advance=advance,
            )
        words, rows = found.words, found.rows
        lowercase = not any(word != word.lower() for word in words)
        weight = np.concatenate([rows, unknown_row(rows)])
        write_vectors(temporary, words, {"embed.weight": weight}, lowercase=lowercase)
        d_model = rows.shape[1]
        config = {
            "model_type": "word-vectors",
            "name": name,
            "n_layers": 1,
            "n_heads": 1,
            "d_model": d_model,
            "d_head": d_model,
            "d_vocab": len(weight),
            "origin": "identity: Q = K = V = e, nothing learned",
            "about": f"{len(words):,} vectors of {source.name}.",
        }
        if facts is not None:
            config |= {"licence": facts["licence"]}
            sign(temporary, facts)
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        write_heads(temporary, config, identity_heads(d_model, mean))
    return len(words)


def unknown_row(rows: Array) -> Array:
    """[1, d_model]: the mean of the rarest words, which stand last."""
    mean: Array = rows[-RAREST:].mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean[None]


@contextmanager
def _unpacked(source: Path, beside: Path) -> Iterator[Path]:
    """The file itself, or what is in it if it is compressed, while the block lasts."""
    opened = _COMPRESSED.get(source.suffix.lower())
    if opened is None:
        yield source
        return
    with tempfile.NamedTemporaryFile(dir=beside, prefix=".vectors-") as plain:
        try:
            with opened(source) as packed:
                shutil.copyfileobj(packed, plain, 1 << 20)
        except FileNotFoundError as error:
            raise CheckpointError(f"{source} cannot be read: {error.strerror}.") from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CheckpointError(f"{source} cannot be unpacked: {error}.") from error
        plain.flush()
        yield Path(plain.name)
