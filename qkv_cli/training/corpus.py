"""The training corpus: sentences of word ids, and sampling of replacement words."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from qkv_cli.errors import InputError

Ids = NDArray[np.int32]
Buckets = dict[int, Ids]  # length -> [n_sentences, length]

MAX_WORDS = 48  # longer lines are split, since the cost of attention is quadratic
MAX_LINE = 2**20  # bytes
HELD_OUT = 20  # every 20th sentence is held out
_CHUNK = 4096  # lines that are tokenized at once


@dataclass(frozen=True, slots=True)
class Corpus:
    """Sentences by length; each word is a row of `types`."""

    types: NDArray[np.int64]  # ids of the words that occur, ascending
    training: Buckets  # sentences, as rows of `types`
    held_out: Buckets
    unigrams: Ids  # the training word tokens, sorted; a random one has its unigram probability
    n_unknown: int  # word tokens without a vector

    @property
    def n_sentences(self) -> int:
        return sum(len(rows) for rows in (*self.training.values(), *self.held_out.values()))

    @property
    def n_words(self) -> int:
        return sum(rows.size for rows in (*self.training.values(), *self.held_out.values()))


def read_lines(sources: Sequence[str]) -> Iterator[str]:
    """Yield the lines of text files, gzipped or not; `-` is standard input.

    Raises:
        InputError: A file is missing or not text, or has a line that is too long.
    """
    for source in sources:
        name = "standard input" if source == "-" else source
        try:
            with ExitStack() as stack:
                path = None if source == "-" else Path(source)
                file = stack.enter_context(path.open("rb")) if path else sys.stdin.buffer
                yield from _read_lines(_decompressed(file), name)
        except UnicodeDecodeError as error:
            raise InputError(f"{name} is not valid UTF-8: {error.reason}.") from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(
                f"{name} is not a gzip file, or it is truncated or corrupt: {error}."
            ) from error
        except OSError as error:
            raise InputError(f"Could not read {name}: {error.strerror}.") from error


def _read_lines(file: IO[bytes], name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if b"\0" in line:
            raise InputError(f"{name} is a binary file; expected text with one sentence per line.")
        if len(line) > MAX_LINE:
            raise InputError(
                f"{name}: line {number:,} is longer than {MAX_LINE:,} bytes; expected one "
                "sentence per line (`fold -s` breaks long lines)."
            )
        yield line.decode("utf-8")


def _decompressed(file: BinaryIO) -> IO[bytes]:
    """Return the unzipped contents of a gzip file; other files as they are."""
    if cast(BufferedReader, file).peek(2).startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    return file


def build_corpus(
    lines: Iterable[str], encode: Callable[[list[str]], Iterable[list[int]]], unknown_id: int
) -> Corpus:
    """Tokenize a corpus, remove duplicates, and hold out every 20th sentence.

    A sentence that occurs twice is kept once, so none is both trained on and held out.

    Args:
        encode: Returns the word ids of lines.
        unknown_id: The id of words without a vector.

    Raises:
        InputError: The corpus is empty or too small.
    """
    sentences = list(dict.fromkeys(_sentences(lines, encode)))
    if not sentences:
        raise InputError("The corpus is empty: it has no line of two or more words.")
    all_ids = np.fromiter((id for s in sentences for id in s), np.int64)
    n_unknown = int((all_ids == unknown_id).sum())
    if n_unknown == len(all_ids):
        raise InputError(f"None of the corpus's {len(all_ids):,} words has a vector.")
    types, rows = np.unique(all_ids, return_inverse=True)
    ends = np.cumsum([len(s) for s in sentences])[:-1]
    buckets: tuple[defaultdict[int, list[Ids]], ...] = (defaultdict(list), defaultdict(list))
    for i, sentence in enumerate(np.split(rows.astype(np.int32), ends)):
        buckets[i % HELD_OUT == 0][len(sentence)].append(sentence)
    training, held_out = ({n: np.stack(b) for n, b in sorted(s.items())} for s in buckets)
    unigrams: Ids = np.concatenate([np.zeros(0, np.int32), *(b.ravel() for b in training.values())])
    unigrams.sort()
    if len(sentences) < 2 or len(types) < 3 or unigrams[0] == unigrams[-1]:
        raise InputError(
            "The corpus is too small to train on one part and hold out another (sentences: "
            f"{len(sentences)}, different words: {len(types)})."
        )
    return Corpus(
        types=types, training=training, held_out=held_out, unigrams=unigrams, n_unknown=n_unknown
    )


def _sentences(
    lines: Iterable[str], encode: Callable[[list[str]], Iterable[list[int]]]
) -> Iterator[tuple[int, ...]]:
    """Yield the ids of each line, split into equal parts if it exceeds MAX_WORDS."""
    lines = iter(lines)
    while chunk := list(islice(lines, _CHUNK)):
        for ids in encode(chunk):
            n_parts = max(1, -(-len(ids) // MAX_WORDS))
            boundaries = [len(ids) * i // n_parts for i in range(n_parts + 1)]
            for start, end in pairwise(boundaries):
                if end - start > 1:
                    yield tuple(ids[start:end])


def make_batches(buckets: Buckets, n_words: int, rng: np.random.Generator | None) -> list[Ids]:
    """Return batches of about `n_words` words in sentences of equal length; shuffled with rng."""
    batches: list[Ids] = []
    for n, rows in buckets.items():
        order = np.arange(len(rows)) if rng is None else rng.permutation(len(rows))
        size = max(1, n_words // n)
        batches += [rows[order[i : i + size]] for i in range(0, len(rows), size)]
    if rng is not None:
        rng.shuffle(batches)
    return batches


def draw_replacements(words: Ids, unigrams: Ids, k: int, rng: np.random.Generator) -> Ids:
    """Draw k replacements for each word, [batch, n] -> [batch, 1 + k, n], the true word first.

    Args:
        unigrams: Every word token of a corpus, sorted, with at least two different words. A drawn
            word has its unigram probability among the words that differ from the true one.
    """
    batch, n = words.shape
    candidates = np.empty((batch, 1 + k, n), words.dtype)
    candidates[:, 0] = words
    replacements = unigrams[rng.integers(len(unigrams), size=(batch, k, n))]
    is_true_word = replacements == words[:, None]
    # If the true word is drawn, draw from the others; equal words are adjacent.
    true_words = replacements[is_true_word]
    start, end = (np.searchsorted(unigrams, true_words, side) for side in ("left", "right"))
    at = rng.integers(len(unigrams) - (end - start))
    replacements[is_true_word] = unigrams[np.where(at < start, at, at + end - start)]
    candidates[:, 1:] = replacements
    return candidates
