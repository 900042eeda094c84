"""Files of word vectors as other tools write them, read through gensim.

word2vec (text and binary), GloVe, fastText (.vec and .bin), each also as .gz or .bz2; and
gensim's own pickles, which are opened only where somebody says that they may be. gensim
trusts what it reads: a wrong count or a file that is cut short is found here first.
"""

from __future__ import annotations

import logging
import mmap
import pickle
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError, StoreError

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

KINDS = "word2vec (text or binary), GloVe and fastText (.vec or .bin)"
_HEAD = 1 << 16
_FASTTEXT_MAGIC = 793712314
_OLD_PICKLES = (b"ccopy_reg\n", b"ccopyreg\n", b"cgensim", b"(dp", b"(lp", b"]q", b"}q")
# What gensim raises on files that are not what they seem.
_BROKEN = (
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Vectors:
    """Words, as frequent ones first as the file has them, and a row for each."""

    words: Sequence[str]
    rows: Array  # [n_words, d_model], float32


Advance = Callable[[int, int], object]  # words read, words in all


def read_vectors(
    path: Path,
    *,
    named: Path | None = None,
    encoding: str = "utf-8",
    limit: int | None = None,
    allow_pickle: bool = False,
    advance: Advance = lambda done, total: None,
) -> Vectors:
    """The vectors of a file, of which only the first `limit` if that is given.

    Args:
        path: An uncompressed file.
        named: What errors call it.
        allow_pickle: Open gensim's own files. Loading a pickle runs whatever is in it.

    Raises:
        CheckpointError: The file is none of the kinds, is broken, or is a pickle unasked.
    """
    named = named or path
    found = _opened(path, named, encoding, limit, allow_pickle, advance)
    words = [str(word) for word in found.index_to_key]
    rows = np.asarray(found.vectors, dtype=np.float32)
    if limit is not None:
        words, rows = words[:limit], rows[:limit]
    if not words or rows.ndim != 2 or len(rows) != len(words) or not rows.shape[1]:
        raise CheckpointError(f"{named} holds no word with a vector.")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        word = words[int(finite.argmin())]
        raise CheckpointError(f"{named}: the vector of {word!r} has a number that is not finite.")
    return Vectors(words, rows)


def nearest(words: Sequence[str], rows: Array, word: int, n: int) -> list[tuple[str, float]]:
    """The n words whose vectors have the largest cosine with a word's: gensim's most_similar."""
    found = _models().KeyedVectors(rows.shape[1])
    found.vectors, found.index_to_key = rows, words
    return [(str(w), float(s)) for w, s in found.similar_by_vector(rows[word], n + 1)][1:]


def _opened(
    path: Path,
    named: Path,
    encoding: str,
    limit: int | None,
    allow_pickle: bool,
    advance: Advance,
) -> KeyedVectors:
    with _mapped(path) as data:
        head, n_bytes = bytes(data[:_HEAD]), len(data)
        pickled, fasttext = _is_pickle(head), _is_fasttext(head)
        if fasttext:
            _check_fasttext(named, data)
        if pickled and not allow_pickle:
            raise CheckpointError(
                f"{named} is a pickle, and loading one runs whatever is in it: "
                "--allow-pickle if you trust whoever made it."
            )
        text = None if pickled or fasttext else _Text.of(named, data, limit)
    try:
        with np.errstate(all="ignore"):  # of settings that a damaged file may have
            if pickled:
                return _unpickled(path)
            if text is None:
                return _models().fasttext.load_facebook_vectors(str(path), encoding=encoding)
            found = _counted(text, advance).load_word2vec_format(
                str(path),
                binary=text.binary,
                no_header=text.count is None,
                encoding=encoding,
                limit=limit,
            )
            if None in found.index_to_key:
                raise ValueError("it holds fewer words than it says")
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"The words of {named} are not in {encoding} ({error.reason}): see --encoding."
        ) from error
    except _BROKEN as error:
        raise CheckpointError(f"{named} cannot be read: {_said(error)}.") from error
    if text.binary and text.count == len(found):
        names = sum(len(word.encode(encoding)) + 1 for word in found.index_to_key)
        rest = n_bytes - text.starts - names - 4 * text.d_model * text.count
        if rest > text.count:  # a line end behind each word, at most
            raise CheckpointError(
                f"{named} says that it holds {text.count:,} words; behind them are "
                f"{rest:,} bytes more."
            )
    return found


@dataclass(frozen=True, slots=True)
class _Text:
    """word2vec's format: perhaps a line with the count and the size, then words and numbers."""

    d_model: int
    count: int | None  # words in all, as the first line says
    binary: bool
    starts: int  # where the first word stands

    @classmethod
    def of(cls, path: Path, data: mmap.mmap, limit: int | None) -> _Text:
        lines = bytes(data[:_HEAD]).split(b"\n")
        first, starts = lines[0].split(), len(lines[0]) + 1
        if len(first) != 2 or not all(part.isdigit() for part in first):
            if (d_model := _numbers(lines[0])) < 2:
                raise CheckpointError(f"{path} is no file of word vectors: {KINDS} are read.")
            return cls(d_model, None, False, 0)
        count, d_model = map(int, first)
        if not count or not d_model:
            raise CheckpointError(f"{path} says that it holds {count} words of {d_model} numbers.")
        binary = len(lines) < 2 or _numbers(lines[1]) != d_model
        if not binary and (lines_left := _n_lines(data) - 1) != count and limit is None:
            raise CheckpointError(f"{path} says {count:,} words, and holds {lines_left:,}.")
        # A count beyond what the file can hold would have gensim reserve memory for it.
        least = (4 if binary else 2) * d_model
        wanted, room = min(count, limit or count), len(data) - starts
        if room < wanted * least:
            raise CheckpointError(
                f"{path} is cut short, or no file of word vectors: {wanted:,} words of "
                f"{d_model:,} numbers do not fit into {max(room, 0):,} bytes."
            )
        return cls(d_model, count, binary, starts)


def _n_lines(data: mmap.mmap) -> int:
    """Lines up to the last that is not blank."""
    end = len(data)
    while end and data[end - 1 : end].isspace():
        end -= 1
    return 1 + sum(data[at : min(at + _HEAD, end)].count(b"\n") for at in range(0, end, _HEAD))


def _numbers(line: bytes) -> int:
    """How many numbers stand behind the first word; 0 if anything else does."""
    parts = line.rstrip().split(b" ")[1:]
    try:
        return len([float(part) for part in parts])
    except ValueError:
        return 0


def _counted(text: _Text, advance: Advance) -> type[KeyedVectors]:
    """gensim's vectors, that say how far they are and take no row of another length."""

    class Counted(_models().KeyedVectors):  # type: ignore[misc]
        def add_vector(self, key: str, vector: Any) -> Any:
            if len(vector) != text.d_model:
                raise ValueError(f"{key!r} has {len(vector)} numbers, not {text.d_model}")
            if len(self) % 1000 == 0:
                advance(len(self), len(self.vectors))
            return super().add_vector(key, vector)

    return Counted


def _is_pickle(head: bytes) -> bool:
    # Protocol 2 and later begin with their number, 0 and 1 with a class by its name.
    if head[:1] == b"\x80":
        return head[1:2] in (b"\2", b"\3", b"\4", b"\5")
    return head.startswith(_OLD_PICKLES)


def _is_fasttext(head: bytes) -> bool:
    """fastText's .bin: its magic number, or the settings that older files begin with."""
    if len(head) < 48:
        return False
    first, *rest = struct.unpack_from("<12i", head)
    if first == _FASTTEXT_MAGIC:
        return True
    loss, model = rest[5], rest[6]
    return 0 < first <= 1 << 16 and loss in (1, 2, 3) and model in (1, 2, 3)


def _check_fasttext(path: Path, data: mmap.mmap) -> None:
    """Walk a .bin file: gensim reads on for ever where its list of words is cut short.

    Layout: https://github.com/facebookresearch/fastText, Args::save, Dictionary::save,
    DenseMatrix::save.
    """
    try:
        new = struct.unpack_from("<i", data)[0] == _FASTTEXT_MAGIC
        at = 64 if new else 56
        n_words, _, n_labels = struct.unpack_from("<3i", data, at)
        pruned = struct.unpack_from("<q", data, at + 20)[0] if new else 0
        at += 28 if new else 20
        if n_labels > 0:
            raise CheckpointError(f"{path} is a fastText classifier; word vectors are read.")
        for _ in range(n_words):
            if (end := data.find(b"\0", at)) < 0:
                raise ValueError("its list of words has no end")
            at = end + 10
        at += 8 * max(pruned, 0)
        if new and data[at]:
            raise CheckpointError(f"{path} is quantised (.ftz): the .bin it came from is read.")
        for _ in range(2):  # what words and n-grams are, and what predicts words from them
            rows, d_model = struct.unpack_from("<2q", data, at + new)
            at += new + 16 + 4 * rows * d_model
            if rows < 0 or d_model < 1 or at > len(data):
                raise ValueError(f"{rows} x {d_model} numbers do not fit into it")
    except (ValueError, IndexError, struct.error) as error:
        raise CheckpointError(f"{path} is a fastText file that is cut short: {error}.") from error


def _unpickled(path: Path) -> KeyedVectors:
    _models()
    from gensim.utils import unpickle

    model = type(unpickle(str(path))).load(str(path))
    found = getattr(model, "wv", model)
    if not hasattr(found, "index_to_key"):
        raise ValueError(f"a {type(model).__name__} has no word vectors")
    return found


def _models() -> Any:
    try:
        from gensim import models
    except ImportError as error:
        raise StoreError(
            "gensim is not installed, and reads files of word vectors: "
            "`pip install gensim` (there is no wheel for Python 3.14 yet)."
        ) from error
    # Its own reports of a broken file go nowhere: the error says it.
    logging.getLogger("gensim").addHandler(logging.NullHandler())
    return models


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        if path.stat().st_size:
            raise
        raise CheckpointError(f"{path} is empty.") from error


def _said(error: BaseException) -> str:
    """What an error says, on one line, without a full stop of its own."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
