"""Marian's binary models, which Mozilla publishes: int8 weights and a YAML config.

Layout (marian-dev, src/common/binary.cpp): u64 version 1, u64 n, n times (name length, type, rank,
bytes) as u64, the names, the shapes as i32, padding, the data. An int8 matrix is stored
transposed, except the embeddings, and followed by a float32 multiplier.
"""

from __future__ import annotations

import re
import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Packed
from qkv_cli.errors import CheckpointError

FLOAT32, INT8, BYTES = 0x404, 0x4101, 0x101
CONFIG = "special:model.yml"
_UNTRANSPOSED = "Wemb"  # not transposed
_MAX_NAME, _MAX_RANK = 4096, 8


def open_marian(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any] | Packed]]:
    """Return a model's config and its tensors, which are unpacked when they are used.

    Raises:
        CheckpointError: The file is not a Marian model, or is truncated.
    """
    try:
        return _parse(np.asarray(np.memmap(path, mode="r")))
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
    except (struct.error, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a Marian model, or it is truncated: {error}."
        ) from error


def _parse(data: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any] | Packed]]:
    entries, at = _entries(data)
    config: dict[str, Any] = {}
    tensors: dict[str, NDArray[Any] | Packed] = {}
    for name, kind, shape, n_bytes in entries:
        tensor_bytes = data[at : at + n_bytes]
        at += n_bytes
        if len(tensor_bytes) < n_bytes or min(shape, default=1) < 1 or prod(shape) > n_bytes:
            raise ValueError(
                f"tensor {name!r} has shape {list(shape)} and {n_bytes:,} bytes; the file has "
                f"{len(tensor_bytes):,} left"
            )
        if name == CONFIG:
            config = _parse_settings(bytes(tensor_bytes).decode())
        elif name.endswith("_QuantMultA"):
            continue  # for activations, which stay float32 in qkv
        elif kind == FLOAT32:
            tensors[name] = tensor_bytes[: 4 * prod(shape)].view("<f4").reshape(shape)
        elif kind == INT8:
            tensors[name] = _pack_int8(tensor_bytes, shape, transposed=name != _UNTRANSPOSED)
        else:
            raise ValueError(f"tensor {name!r} has unknown type {kind:#x}")
    if not config:
        raise ValueError(f"it has no {CONFIG!r}")
    return config, tensors


def _entries(data: Any) -> tuple[list[tuple[str, int, tuple[int, ...], int]], int]:
    """Return the name, type, shape and size of each tensor, and the first byte of the data."""
    version, count = struct.unpack_from("<2Q", data, 0)
    if version != 1 or count > len(data) // 32:
        raise ValueError(f"its header has version {version} and {count:,} tensors")
    at = 16 + 32 * count
    headers = [struct.unpack_from("<4Q", data, 16 + 32 * i) for i in range(count)]
    names, shapes = [], []
    for length, *_ in headers:
        if not 0 < length <= _MAX_NAME:
            raise ValueError(f"a tensor name has {length:,} bytes; expected 1 to {_MAX_NAME:,}")
        names.append(bytes(data[at : at + length - 1]).decode())
        at += length
    for _, _, rank, _ in headers:
        if rank > _MAX_RANK:
            raise ValueError(f"a tensor has {rank:,} axes; expected at most {_MAX_RANK}")
        shapes.append(struct.unpack_from(f"<{rank}i", data, at))
        at += 4 * rank
    at += 8 + struct.unpack_from("<Q", data, at)[0]
    rows = zip(names, shapes, headers, strict=True)
    return [(name, kind, shape, n_bytes) for name, shape, (_, kind, _, n_bytes) in rows], at


def _pack_int8(
    tensor_bytes: NDArray[np.uint8], shape: tuple[int, ...], *, transposed: bool
) -> Packed:
    n = prod(shape)
    if len(tensor_bytes) < n + 4:
        raise ValueError("an int8 matrix has no multiplier")
    stored_matrix = tensor_bytes[:n].view(np.int8).reshape(shape[::-1] if transposed else shape)
    with np.errstate(divide="ignore"):  # NaN and infinity are refused when they are used
        step = np.float32(1) / tensor_bytes[n : n + 4].view("<f4")[0]
    numbers = stored_matrix.T if transposed else stored_matrix
    return Packed(
        shape,
        lambda: numbers.astype(np.float32) * step,
        lambda rows: numbers[rows].astype(np.float32) * step,
        data=stored_matrix,
    )


def _parse_settings(text: str) -> dict[str, Any]:
    """Parse Marian's YAML: one setting per line; lists are not needed."""
    settings: dict[str, Any] = {}
    for line in text.replace("\0", "").splitlines():
        name, colon, value = line.partition(": ")
        if not colon or line.startswith(" "):
            continue
        value = value.strip().strip('"')
        if value in ("true", "false"):
            settings[name] = value == "true"
        else:
            settings[name] = int(value) if re.fullmatch(r"-?[0-9]{1,18}", value) else value
    return settings
