"""safetensors files, memory-mapped: opening one reads its header and no tensor.

The library's numpy reader copies every tensor it is asked for; here a 400,000-row
table stays on disk until single rows of it are wanted. Writing is the library's.
Format: https://huggingface.co/docs/safetensors (u64 header length, JSON, data).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import BFloat16
from qkv_cli.errors import CheckpointError

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U32": "<u4",
    "I8": "<i1",
    "U8": "<u1",
}
_MAX_HEADER = 100_000_000  # as in the library: a longer one is no header


def open_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of a file by name, each a read-only view of the mapped bytes.

    Raises:
        CheckpointError: The file is no safetensors file, or is cut short.
    """
    try:
        data = np.memmap(path, mode="r")
    except ValueError as error:  # an empty file cannot be mapped
        raise CheckpointError(f"{path} is empty.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    return read_tensors(data, str(path))


def read_tensors(data: NDArray[np.uint8], path: str) -> dict[str, NDArray[Any]]:
    """The same of a file's bytes; `path` is what errors call it."""
    n_header = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or n_header > min(len(data) - 8, _MAX_HEADER):
        raise CheckpointError(f"{path} is no safetensors file, or is cut short.")
    body = np.asarray(data)[8 + n_header :]
    try:
        header = json.loads(data[8 : 8 + n_header].tobytes())
        header.pop("__metadata__", None)
        return {name: _view(body, entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file, or is cut short: {error}."
        ) from error


def _view(body: NDArray[np.uint8], entry: dict[str, Any]) -> NDArray[Any]:
    start, end = entry["data_offsets"]
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"tensor type {entry['dtype']!r} is not one of {', '.join(_DTYPES)}")
    if not 0 <= start <= end <= len(body):
        raise ValueError(f"bytes {start} to {end} of {len(body)}")
    found = body[start:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found.view(BFloat16) if entry["dtype"] == "BF16" else found
