"""Texts, from arguments, files and standard input."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import UnsupportedOperation
from pathlib import Path
from typing import BinaryIO

from qkv_cli.errors import InputError, UsageError

MAX_BYTES = 2**26  # of a text; attention would need a thousand times as much
MAX_STREAM = 2**28  # of a document from a pipe
_HEAD = 2**16


def read_texts(
    text: Sequence[str] | None, files: Sequence[Path] | None, *, lines: bool = False
) -> Iterator[str]:
    """Yield each text of TEXT, standard input or files; with `lines`, each line.

    Lines are yielded as they arrive, so a pipe may stay open.

    Raises:
        UsageError: There is no text, or it is given in several ways.
        InputError: A file is missing or not text.
    """
    texts, paths = list(text or ()), list(files or ())
    if texts and paths:
        raise UsageError("Use either TEXT or --file, not both.")
    if len(texts) > 1:
        raise UsageError(
            f"Expected one text, found {len(texts)}: put the whole text in one pair of quotes."
        )
    if not texts and not paths:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("No text: give one in quotes, use --file FILE, or pipe it in.")
        texts = ["-"]
    if texts and texts[0] != "-":
        argument = check_utf8(texts[0], "The text")
        return _lines(argument.splitlines(), "The text") if lines else iter([argument])
    return _streams(paths or [Path("-")], lines=lines)


def read_text(text: Sequence[str] | None, files: Sequence[Path] | None) -> str:
    """Return the only text; see `read_texts`."""
    texts = list(read_texts(text, files))
    if len(texts) != 1:
        raise UsageError(f"Expected one text, found {len(texts)} files.")
    return texts[0]


def check_utf8(text: str, name: str) -> str:
    """Check a text of the command line, in which invalid UTF-8 becomes unpaired surrogates."""
    for position, character in enumerate(text):
        if "\ud800" <= character <= "\udfff":
            raise InputError(f"{name} is not valid UTF-8 at character {position + 1}.")
    return text


def read_bytes(path: Path) -> bytes:
    """Read a file or, for '-', standard input: JSON or arrays.

    A pipe or a device may be endless: if it starts as neither of the two, only the start is read.

    Raises:
        InputError: It cannot be read, or is a pipe or device larger than `MAX_STREAM`.
    """
    with _opened(path) as (file, name):
        if _has_size(file):
            return file.read()
        head = file.read(_HEAD)
        if not _is_document(head):
            return head
        data = head + file.read(MAX_STREAM - len(head) + 1)
        if len(data) > MAX_STREAM:
            raise InputError(
                f"{name} is larger than {MAX_STREAM:,} bytes: save it to a file first."
            )
        return data


def _has_size(file: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except UnsupportedOperation:  # not a file of the system
        return False


def _is_document(head: bytes) -> bool:
    """Whether data may be an array file, or JSON in any encoding, by their first bytes."""
    from qkv_cli.export.npz import file_type

    text = head.lstrip(b" \t\r\n\0" + codecs.BOM_UTF8 + codecs.BOM_UTF16)
    return file_type(head) is not None or text.startswith((b"{", b"["))


def _streams(paths: Sequence[Path], *, lines: bool) -> Iterator[str]:
    for path in paths:
        with _opened(path) as (file, name):
            if lines:
                lines_of_file = iter(partial(file.readline, MAX_BYTES + 1), b"")
                yield from _lines((_decoded(line, name) for line in lines_of_file), name)
            else:
                yield _decoded(file.read(MAX_BYTES + 1), name)


def source_name(path: Path) -> str:
    """The name of a file in an error message; '-' is standard input."""
    return "standard input" if str(path) == "-" else str(path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """Yield a file or, for '-', standard input, with its name for errors."""
    name = source_name(path)
    try:
        if str(path) == "-":
            yield sys.stdin.buffer, name
        else:
            with path.open("rb") as file:
                yield file, name
    except OSError as error:
        raise InputError(f"Could not read {name}: {error.strerror}.") from error


def _lines(lines: Iterable[str], name: str) -> Iterator[str]:
    """Yield the lines that are not blank."""
    empty = True
    for line in lines:
        if line.strip():
            empty = False
            yield line.strip()
    if empty:
        raise InputError(f"{name} contains no words.")


def _decoded(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise InputError(f"{name} is larger than {MAX_BYTES:,} bytes.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{name} is UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`.")
    if (position := data.find(b"\0")) >= 0:
        raise InputError(f"{name} is binary, not text: byte {position + 1} is 0.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise InputError(
            f"{name} is not valid UTF-8: byte {error.start + 1} is 0x{byte:02x}."
        ) from error
