"""Memory-mapped safetensors files: opening one reads only its header.

The library's numpy reader copies every tensor; here, a table of 400,000 rows stays on disk until
rows are used. The library's writer copies too; here, a table is written from a mapped file.
Format: https://huggingface.co/docs/safetensors (u64 header length, JSON, data).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import BFloat16, Stored, Unreadable
from qkv_cli.errors import CheckpointError
from qkv_cli.strict_json import parse

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
_OTHER_BITS = {  # bytes per number, of the other types of the format
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8},
    **{"I16": 16, "U16": 16, "C64": 64, "U64": 64},
}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items() if name != "BF16"}
_BLOCK = 1 << 24  # bytes that are written at once
_MAX_HEADER = 100_000_000  # the library's limit for headers


def open_tensors(path: Path) -> dict[str, Stored]:
    """Return all tensors of a file by name, as read-only views of the mapped bytes.

    A tensor of a type that is not implemented has a name and a shape, since it may be a buffer; it
    is refused when its numbers are used.

    Raises:
        CheckpointError: The file is truncated, or tensors overlap or leave gaps. The safetensors
            library refuses the same files.
    """
    try:
        data = np.memmap(path, mode="r")
    except ValueError as error:  # an empty file cannot be mapped
        raise CheckpointError(f"{path} is empty.") from error
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
    return read_tensors(data, str(path))


def open_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file that qkv wrote.

    Raises:
        CheckpointError: See `open_tensors`; or a type is not implemented.
    """
    return {
        name: tensor if isinstance(tensor, np.ndarray) else tensor.unpack()
        for name, tensor in open_tensors(path).items()
    }


def read_tensors(data: NDArray[np.uint8], path: str) -> dict[str, Stored]:
    """Return the tensors in the bytes of a file, which errors call `path`."""
    n_header = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or n_header > min(len(data) - 8, _MAX_HEADER):
        raise CheckpointError(f"{path} is not a valid safetensors file, or it is truncated.")
    body = np.asarray(data)[8 + n_header :]
    try:
        header = parse(data[8 : 8 + n_header].tobytes())
        metadata = header.pop("__metadata__", None)
        if metadata is not None and not all(type(value) is str for value in metadata.values()):
            raise ValueError("a value of __metadata__ is not a string")
        tensors = {name: _tensor_view(body, name, entry) for name, entry in header.items()}
        _check_layout(header, len(body))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}.") from error
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays, which may be views of mapped files, to a file."""
    # Numbers are aligned to 8 bytes, so the largest types come first.
    by_size = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    header, end = dict[str, Any](), 0
    for name, tensor in by_size:
        start, end = end, end + tensor.nbytes
        kind = _NAMES[tensor.dtype.newbyteorder("<")]
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in by_size:
            # In C order; transposed arrays would be read wrongly.
            flat = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).reshape(-1)
            step = max(1, _BLOCK // tensor.itemsize)
            for start in range(0, len(flat), step):
                file.write(flat[start : start + step].tobytes())


def _tensor_view(body: NDArray[np.uint8], name: str, entry: dict[str, Any]) -> Stored:
    kind, shape = entry["dtype"], entry["shape"]
    start, end = entry["data_offsets"]
    if type(kind) is not str:
        raise ValueError(f"tensor {name!r} has dtype {kind!r:.40}; expected a string")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"tensor {name!r} has shape {shape}; expected whole numbers, 0 or more")
    if not all(type(n) is int for n in (start, end)) or not 0 <= start <= end:
        raise ValueError(f"tensor {name!r} has invalid data_offsets [{start}, {end}]")
    if end > len(body):
        raise ValueError(
            f"it is truncated: tensor {name!r} ends at byte {end} of the data, which has "
            f"{len(body)} bytes"
        )
    if kind not in _DTYPES:
        if kind in _OTHER_BITS and math.prod(shape) * _OTHER_BITS[kind] != (end - start) * 8:
            raise ValueError(
                f"tensor {name!r} has {end - start} bytes, which do not match shape {shape}"
            )
        return Unreadable.of(name, kind, tuple(shape), _DTYPES)
    array = body[start:end].view(_DTYPES[kind]).reshape(shape)
    return array.view(BFloat16) if kind == "BF16" else array


def _check_layout(header: dict[str, Any], n_bytes: int) -> None:
    """Check that tensors are contiguous, up to the end of the file."""
    spans = sorted((*entry["data_offsets"], name) for name, entry in header.items())
    expected_start = 0
    for start, end, name in spans:
        if start != expected_start:
            raise ValueError(
                f"tensor {name!r} begins at byte {start} of the data; expected {expected_start}"
            )
        expected_start = end
    if expected_start != n_bytes:
        raise ValueError(f"its tensors take {expected_start} bytes, but the data has {n_bytes}")
