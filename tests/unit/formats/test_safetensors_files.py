"""Files of tensors: what is written here is what the library and the reader here find in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from qkv_cli.formats.safetensors import open_tensors, write_tensors


def test_every_type_and_layout_comes_back(tmp_path: Path) -> None:
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
    for found in (open_tensors(tmp_path / "t"), load_file(tmp_path / "t")):
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].shape == tensor.shape
            assert found[name].dtype == tensor.dtype.newbyteorder("<")
            np.testing.assert_array_equal(found[name], tensor)


def test_numbers_begin_where_their_type_can_be_mapped(tmp_path: Path) -> None:
    tensors = {"a": np.zeros(3, np.uint8), "b": np.zeros(3, np.float32), "c": np.zeros(1)}
    write_tensors(tmp_path / "t", tensors)
    assert all(tensor.flags.aligned for tensor in open_tensors(tmp_path / "t").values())


def test_a_tensor_larger_than_a_block_is_whole(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(5000, 1000)).astype(np.float32)  # 20 MB
    write_tensors(tmp_path / "t", {"table": table})
    np.testing.assert_array_equal(open_tensors(tmp_path / "t")["table"], table)
