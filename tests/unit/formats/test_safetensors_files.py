"""safetensors files: the library and our reader read the tensors that were written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.safetensors import open_tensors, write_tensors


def test_write_tensors_of_every_type_and_layout_is_read_back_unchanged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(3, 5))
    tensors = {
        "u8": np.arange(3, dtype=np.uint8),
        "i8": np.arange(-2, 1, dtype=np.int8),
        "f16": numbers.astype(np.float16),
        "f32.transposed": numbers.astype(np.float32).T,
        "f32.strided": numbers.astype(np.float32)[:, ::2],
        "f32.big": numbers.astype(">f4"),
        "f64": numbers,
        "i32": np.arange(4, dtype=np.int32),
        "u32": np.arange(4, dtype=np.uint32),
        "i64": np.array([1 << 40]),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.float32(7).reshape(()),
    }
    write_tensors(tmp_path / "t", tensors)
    for result in (open_tensors(tmp_path / "t"), load_file(tmp_path / "t")):
        assert result.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert result[name].shape == tensor.shape
            assert result[name].dtype == tensor.dtype.newbyteorder("<")
            np.testing.assert_array_equal(result[name], tensor)


def test_write_tensors_aligns_every_tensor(tmp_path: Path) -> None:
    tensors = {"a": np.zeros(3, np.uint8), "b": np.zeros(3, np.float32), "c": np.zeros(1)}
    write_tensors(tmp_path / "t", tensors)
    assert all(tensor.flags.aligned for tensor in open_tensors(tmp_path / "t").values())


def test_write_tensors_of_tensor_larger_than_block_is_read_back_unchanged(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(5000, 1000)).astype(np.float32)  # 20 MB
    write_tensors(tmp_path / "t", {"table": table})
    np.testing.assert_array_equal(open_tensors(tmp_path / "t")["table"], table)


HEADERS: dict[str, tuple[object, int]] = {
    "as it should be": ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 8),
    "bytes left over": ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 9),
    "cut short": ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 7),
    "a gap": ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, 12),
    "bytes without a tensor": ({}, 1),
    "no tensors": ({}, 0),
    "an overlap": (
        {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"},
        8,
    ),
    "nothing in the middle of another": (
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]},
        },
        8,
    ),
    "nothing before another": (
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
        },
        8,
    ),
    "half a byte": ({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, 2),
    "too few booleans": ({"a": {"dtype": "BOOL", "shape": [9], "data_offsets": [0, 8]}}, 8),
    "offsets that are not whole": (
        {"a": {"dtype": "BOOL", "shape": [8], "data_offsets": [0.0, 8]}},
        8,
    ),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, 0),
    "metadata in a list": ({"__metadata__": []}, 0),
    "no metadata": ({"__metadata__": None}, 0),
    "metadata": ({"__metadata__": {"format": "pt"}}, 0),
}


@pytest.mark.parametrize("name", HEADERS)
def test_open_tensors_accepts_same_headers_as_safetensors_library(
    tmp_path: Path, name: str
) -> None:
    header, n_bytes = HEADERS[name]
    path = tmp_path / "a.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(n_bytes))
    assert _opens(path) == _library_opens(path)


def test_open_tensors_of_damaged_file_is_at_least_as_strict_as_library(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.safetensors", np.random.default_rng(20261126)
    arrays = {name: np.zeros(n, np.float32) for name, n in zip("abcd", (2, 0, 3, 1), strict=True)}
    write_tensors(path, arrays | {"e": np.zeros((2, 3), np.int8)})
    valid, verdicts = path.read_bytes(), set[tuple[bool, bool]]()
    for _ in range(3000):
        data = bytearray(valid)
        at = rng.integers(8, len(data))
        data[at] = rng.choice([*b'0123456789abc,:[]{}"', data[at]])
        if rng.random() < 0.1:
            data += bytes(1)
        path.write_bytes(data)
        verdicts.add((_opens(path), _library_opens(path)))
    # Our reader also refuses duplicate names.
    assert verdicts <= {(True, True), (False, False), (False, True)}
    assert {(True, True), (False, False)} <= verdicts


def _opens(path: Path) -> bool:
    try:
        open_tensors(path)
    except CheckpointError:
        return False
    return True


def _library_opens(path: Path) -> bool:
    try:
        with safe_open(path, "numpy"):
            return True
    except SafetensorError as error:
        # A type of a later version of the format is refused by name, where it is used.
        return "unknown variant" in str(error)
