"""Reader of GGUF files: settings by name, and tensors as stored.

The `gguf` library's reader makes several arrays per token of a vocabulary, which takes seconds;
this one takes a twentieth of the time.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.gguf_parts import MAGIC

# The `struct` formats of the types of settings, by their number.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"} | {
    12: "d"
}
_TEXT, _LIST = 8, 9
_VERSIONS = (2, 3)
_ALIGNMENT = "general.alignment"  # of the tensors


@dataclass(frozen=True, slots=True)
class StoredTensor:
    name: str
    shape: tuple[int, ...]
    kind: int  # the number of the quantisation type
    data: NDArray[np.uint8]  # [..., bytes of a row]


def read_gguf(
    path: Path, row_bytes: Callable[[int, int], int]
) -> tuple[dict[str, Any], list[StoredTensor]]:
    """Return settings and tensors, which are views of the mapped file.

    Args:
        row_bytes: Returns the bytes of a row, given its length and quantisation type.

    Raises:
        ValueError, struct.error, OSError: It is not a GGUF file, or it is truncated.
        CheckpointError: It is big-endian, or of another version.
    """
    data: Any = np.asarray(np.memmap(path, mode="r"))
    header = _Header(memoryview(data))
    [magic] = header.unpack("4s")
    if magic != MAGIC:
        raise ValueError(f"it begins with {magic!r}; expected {MAGIC!r}")
    [version] = header.unpack("I")
    _check_version(path, version)
    n_tensors, n_settings = header.unpack("QQ")
    settings = _read_settings(header, n_settings)
    entries = _read_entries(header, n_tensors)
    step = settings.get(_ALIGNMENT, 32)
    if type(step) is not int or step < 1:
        raise ValueError(f"{_ALIGNMENT} is {step!r}; expected a positive whole number")
    body = data[-(-header.at // step) * step :]
    tensors = []
    for name, shape, kind, offset in entries:
        try:
            rows = _rows(body, shape, offset, row_bytes(kind, shape[-1]) if shape else 0)
        except ValueError as error:
            raise ValueError(f"tensor {name!r} {error}") from error
        tensors.append(StoredTensor(name=name, shape=shape, kind=kind, data=rows))
    return settings, tensors


def _read_settings(header: _Header, n_settings: int) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for _ in range(n_settings):
        name = header.text()
        if name in settings:
            raise ValueError(f"duplicate key {name!r}")
        [kind] = header.unpack("I")
        settings[name] = header.value(kind)
    return settings


def _read_entries(header: _Header, n_tensors: int) -> list[tuple[str, tuple[int, ...], int, int]]:
    """Return the name, shape, quantisation type and offset of each tensor."""
    entries = []
    for _ in range(n_tensors):
        name = header.text()
        [rank] = header.unpack("I")
        shape = header.unpack(f"{rank}Q")[::-1]  # the fastest axis is first in the file
        kind, offset = header.unpack("IQ")
        entries.append((name, shape, kind, offset))
    if len({name for name, *_ in entries}) < len(entries):
        raise ValueError("two tensors have the same name")
    return entries


def _check_version(path: Path, version: int) -> None:
    if version in _VERSIONS:
        return
    if int.from_bytes(version.to_bytes(4, "little"), "big") in (1, *_VERSIONS):
        raise CheckpointError(
            f"{path} is a big-endian GGUF file, which is not implemented; convert it to "
            "little-endian with gguf-convert-endian, which comes with the gguf library."
        )
    raise CheckpointError(
        f"{path} is a GGUF file of version {version}, which is not implemented; implemented: "
        f"{', '.join(map(str, _VERSIONS))}."
    )


def _rows(
    body: NDArray[np.uint8], shape: tuple[int, ...], offset: int, width: int
) -> NDArray[np.uint8]:
    """Return a tensor's bytes, [..., bytes of a row]."""
    if not shape or 0 in shape:
        raise ValueError(f"has shape {list(shape)}, which is empty")
    size = width * prod(shape[:-1])
    if offset + size > len(body):
        raise ValueError(
            f"ends at byte {offset + size} of the data, which has {len(body)} bytes: the file is "
            "truncated"
        )
    return body[offset : offset + size].reshape(*shape[:-1], width)


class _Header:
    """Reads one value after the other."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def unpack(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def text(self) -> str:
        [length] = self.unpack("Q")
        start, self.at = self.at, self.at + length
        if self.at > len(self.data):
            raise ValueError("a string exceeds the file size")
        return str(self.data[start : self.at], "utf-8")

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind in _NUMBERS:
            return self.unpack(_NUMBERS[kind])[0]
        if kind != _LIST:
            raise ValueError(f"a setting has unknown type {kind}")
        inner, length = self.unpack("IQ")
        if inner in _NUMBERS:
            return list(self.unpack(f"{length}{_NUMBERS[inner]}"))
        if inner == _LIST:
            raise ValueError("a setting is a list of lists, which is not implemented")
        return [self.value(inner) for _ in range(length)]
