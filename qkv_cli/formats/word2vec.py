"""word2vec's text and binary formats, and GloVe's, which is the text format without a header.

Text: a header with the number of words and the size of vectors, then one line per word. The last
d_model fields of a line are its vector; everything before them is one word, spaces included
(`New York`, `. . .`). Binary: the same header, then each word, a space and its float32 numbers.
Lines are read one at a time, so only the vectors are in memory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from mmap import mmap
from pathlib import Path

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError

KINDS = "word2vec (text or binary), GloVe and fastText (.vec or .bin)"
Advance = Callable[[int, int], object]  # bytes read, bytes in all

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# The number of first lines, and of their bytes, that determine the layout.
_SAMPLE_LINES = 1000
_SAMPLE_BYTES = 1 << 20
_LONGEST_LINE = 1 << 26
_LONGEST_HEADER = 1 << 6
_LONGEST_WORD = 1 << 16
_FIRST_ROWS = 1 << 14  # allocated before the length of a line is known
_STEP = 1000  # words between two calls of `advance`
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a file, from its first lines."""

    name: Path  # the name of the file in errors
    encoding: str  # of the words
    d_model: int
    n_words: int | None  # from the header
    is_binary: bool
    start: int  # byte of the first word


def read_layout(data: mmap, name: Path, encoding: str) -> Layout:
    """Determine the layout of a file from its header and first lines.

    Raises:
        CheckpointError: It is not a file of word vectors, or contradicts its header.
    """
    if data[:2] in _UTF_16:
        raise CheckpointError(f"{name} is UTF-16 text: convert it to UTF-8 first.")
    start = len(_BYTE_ORDER_MARK) if data[:3] == _BYTE_ORDER_MARK else 0
    first_line = next(_first_lines(data, start), b"")
    if b"\r" in first_line.strip():
        raise CheckpointError(
            f"{name} ends its lines with carriage returns: convert them to line feeds first."
        )
    header = first_line.split() if len(first_line) < _LONGEST_HEADER else []
    if len(header) != 2 or not all(field.isdigit() for field in header):
        return Layout(
            name=name,
            encoding=encoding,
            d_model=_headless_size(data, name, start),
            n_words=None,
            is_binary=False,
            start=start,
        )
    n_words, d_model = map(int, header)
    if not n_words or not d_model:
        raise CheckpointError(
            f"The header of {name} states {n_words} words of {d_model} numbers; both must be at "
            "least 1."
        )
    start = min(len(data), data.find(first_line, start) + len(first_line) + 1)
    lines = list(_first_lines(data, start))
    is_binary = not _is_text(lines, d_model, encoding)
    counts = [_count_numbers(line) for line in lines]
    if not is_binary and counts and (max(counts) < d_model or min(counts) > d_model):
        raise CheckpointError(
            f"The header of {name} states {d_model:,} numbers per word; the first word has "
            f"{counts[0]:,}."
        )
    return Layout(
        name=name,
        encoding=encoding,
        d_model=d_model,
        n_words=n_words,
        is_binary=is_binary,
        start=start,
    )


def read_text_vectors(
    data: mmap, layout: Layout, limit: int | None, advance: Advance
) -> tuple[list[str], Array]:
    """Return the words and their vectors, [n_words, d_model], in the order of lines.

    Raises:
        CheckpointError: A line is invalid, or the number of lines contradicts the header.
    """
    d_model, n_words = layout.d_model, layout.n_words
    n_most = min(n for n in (n_words, limit, len(data) // (2 * d_model) + 1) if n is not None)
    rows = np.empty((min(n_most, _FIRST_ROWS), d_model), np.float32)
    words: list[str] = []
    lines = _lines(data, layout)
    for number, line in islice(lines, n_most):
        if len(words) == len(rows):
            n_likely = len(words) * len(data) // data.tell()
            rows.resize((min(n_most, n_likely + _STEP), d_model), refcheck=False)
        word, numbers = _parse_line(line, number, layout)
        rows[len(words)] = numbers
        words.append(word)
        if len(words) % _STEP == 0:
            advance(data.tell(), len(data))
    if n_words is not None and len(words) != limit:
        n_lines = len(words) + sum(1 for _ in lines)
        if n_lines != n_words:
            raise CheckpointError(
                f"The header of {layout.name} states {n_words:,} words; found {n_lines:,}."
            )
    rows.resize((len(words), d_model), refcheck=False)
    return words, rows


def read_binary_vectors(
    data: mmap, layout: Layout, limit: int | None, advance: Advance
) -> tuple[list[str], Array]:
    """Return the words and their vectors, [n_words, d_model], of the binary format.

    Raises:
        CheckpointError: The file is shorter or longer than its header says.
    """
    assert layout.n_words is not None
    name, d_model, at = layout.name, layout.d_model, layout.start
    n_words = layout.n_words if limit is None else min(layout.n_words, limit)
    n_bytes = 4 * d_model
    # A count that exceeds the file would allocate too much memory.
    if (n_left := len(data) - at) < n_words * (n_bytes + 1):
        raise CheckpointError(
            f"{name} is truncated, or is not a file of word vectors: {n_words:,} words of "
            f"{d_model:,} numbers exceed the {n_left:,} bytes after the header."
        )
    words: list[str] = []
    rows = np.empty((n_words, d_model), np.float32)
    for i in range(n_words):
        blank = data.find(b" ", at, at + _LONGEST_WORD)
        if blank < 0 or blank + 1 + n_bytes > len(data):
            raise CheckpointError(
                f"{name} is truncated: its header states {layout.n_words:,} words, found {i:,}."
            )
        # The original tool writes a line feed after each vector, others do not.
        words.append(_decode(data[at:blank].lstrip(b"\n"), layout))
        rows[i] = np.frombuffer(data, "<f4", d_model, blank + 1)
        at = blank + 1 + n_bytes
        if i % _STEP == 0:
            advance(at, len(data))
    if n_words == layout.n_words and (len(data) - at > 2 or data[at:].strip()):
        raise CheckpointError(
            f"The header of {name} states {n_words:,} words; {len(data) - at:,} more bytes "
            "follow them."
        )
    return words, rows


def _first_lines(data: mmap, start: int) -> Iterator[bytes]:
    """Return the first lines that are not blank."""
    n_lines, at = 0, start
    while n_lines < _SAMPLE_LINES and at < min(len(data), start + _SAMPLE_BYTES):
        end = data.find(b"\n", at, at + _LONGEST_LINE)
        end = min(len(data), at + _LONGEST_LINE) if end < 0 else end
        if (line := data[at:end]).strip():
            n_lines += 1
            yield line
        at = end + 1


def _is_text(lines: Sequence[bytes], d_model: int, encoding: str) -> bool:
    """Whether lines are text: most are a word and numbers, or all bytes are valid text.

    The bytes of float32 numbers hardly ever look like printed numbers, and soon contain a control
    character or an invalid sequence.
    """
    n_rows = 0
    for line in lines:
        n_numbers = _count_numbers(line)
        n_rows += n_numbers >= min(d_model, max(1, len(line.split()) - 1))
    if 2 * n_rows >= len(lines):
        return True
    try:
        return not any(_CONTROL.search(line.decode(encoding)) for line in lines)
    except UnicodeDecodeError:
        return False


def _headless_size(data: mmap, name: Path, start: int) -> int:
    """Return the size of the vectors in a text without a header: that of most lines."""
    lines = list(_first_lines(data, start))
    counts = Counter(map(_count_numbers, lines))
    # Of two equally frequent sizes, the larger: shorter lines are refused later.
    d_model = max(counts, key=lambda n: (counts[n], n), default=0)
    if d_model == 0:
        raise CheckpointError(f"{name} is not a file of word vectors; implemented: {KINDS}.")
    if d_model == 1:
        raise CheckpointError(
            f"{name} has one number on each line; vectors of size 1 need a header line: the "
            "number of words, and 1."
        )
    words = [line.split()[0] for line in lines]
    if all(map(_is_number, words)) and not (
        all(map(bytes.isdigit, words)) and len(set(words)) == len(words)
    ):
        raise CheckpointError(
            f"{name} is a table of numbers; each line of a file of word vectors starts with a word."
        )
    return d_model


def _count_numbers(line: bytes) -> int:
    """Count the fields at the end of a line that are numbers; the first field is always a word."""
    fields = line.split()
    for n, field in enumerate(reversed(fields[1:])):
        if not _is_number(field):
            return n
    return max(0, len(fields) - 1)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field  # Python reads 1_000 as a number


def _lines(data: mmap, layout: Layout) -> Iterator[tuple[int, bytes]]:
    """Yield lines that are not blank, with their line numbers from 1."""
    data.seek(layout.start)
    first_number = 1 if layout.n_words is None else 2
    for number, line in enumerate(iter(data.readline, b""), first_number):
        if not line.isspace():
            yield number, line


def _parse_line(line: bytes, number: int, layout: Layout) -> tuple[str, list[float]]:
    """Return a line's word and numbers."""
    fields = line.rsplit(None, layout.d_model)
    if len(fields) == layout.d_model and line[:1].isspace():
        fields.insert(0, b"")  # the word itself was a space
    try:
        numbers = list(map(float, fields[1:]))
    except ValueError:
        numbers = []
    if len(numbers) != layout.d_model or (b"_" in line and not all(map(_is_number, fields[1:]))):
        n_found = _count_numbers(line)
        last_word = line.split()[-1 - n_found][:40].decode(errors="replace")
        raise CheckpointError(
            f"{layout.name}, line {number:,}: expected {layout.d_model:,} numbers at its end, "
            f"found {n_found:,} after {last_word!r}."
        )
    return _decode(fields[0].lstrip(), layout), numbers


def _decode(word: bytes, layout: Layout) -> str:
    try:
        return word.decode(layout.encoding)
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"The words of {layout.name} are not valid {layout.encoding} ({error.reason}); use "
            "--encoding NAME for another encoding."
        ) from error
