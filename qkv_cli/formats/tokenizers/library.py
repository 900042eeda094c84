"""Calls of the tokenizers library, whose errors are plain Exceptions or panics."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer

from qkv_cli.errors import CheckpointError

_CHARSMAP = re.compile(rb'"precompiled_charsmap"\s*:\s*"([^"]*)"')
_PANIC = "PanicException"  # of pyo3; its module cannot be imported


@contextmanager
def library_errors(failure: str, *error_types: type[Exception]) -> Iterator[None]:
    """Turn the library's exceptions and panics into CheckpointError.

    Rust prints a panic to stderr before it becomes an exception, so stderr is silenced.

    Args:
        failure: The start of the message, such as "Could not read m/tokenizer.json".
        error_types: Further exception classes that the library raises here.
    """
    try:
        with _stderr_silenced():
            yield
    except error_types as error:
        raise CheckpointError(f"{failure}: {error}.") from error
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != _PANIC:
            raise
        raise CheckpointError(f"{failure}: {error}.") from error


def open_tokenizer_file(path: Path) -> Tokenizer:
    """Open a tokenizer.json, without padding and truncation.

    Raises:
        CheckpointError: The file cannot be read, or the library refuses it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
    for charsmap in _CHARSMAP.findall(data):
        from qkv_cli.formats.tokenizers.sentencepiece import checked_charsmap

        try:
            checked_charsmap(b64decode(charsmap))
        except ValueError as error:
            raise CheckpointError(f"{path}: precompiled_charsmap is not base64.") from error
    with library_errors(f"Could not read {path}", ValueError):
        tokenizer: Tokenizer = Tokenizer.from_buffer(data)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@contextmanager
def _stderr_silenced() -> Iterator[None]:
    """Redirect descriptor 2 to the null device."""
    try:
        stderr_copy = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    null_device = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_device, 2)
    os.close(null_device)
    try:
        yield
    finally:
        os.dup2(stderr_copy, 2)
        os.close(stderr_copy)
