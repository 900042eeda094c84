"""Matrices that stay as their file stores them until they are multiplied."""

from __future__ import annotations

import mmap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.checkpoints.tensors import split_interleaved, split_linear
from qkv_cli.core import arrays
from qkv_cli.core.arrays import Array, BFloat16, Packed, Stored, float32, release
from qkv_cli.core.layers import Linear, apply_linears


def bfloat16(x: Array) -> Stored:
    """Round towards zero."""
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(BFloat16)


def packed(x: Array) -> Stored:
    return Packed(x.shape, lambda: x, lambda rows: x[rows])


STORED = {
    "bfloat16": bfloat16,
    "float16": lambda x: x.astype(np.float16),
    "float32": lambda x: x,
    "packed": packed,
    "transposed bfloat16": lambda x: bfloat16(x.T).T,
}


def draw(*shape: int) -> Array:
    rng = np.random.default_rng(sum(shape))
    return rng.normal(size=shape).astype(np.float32)


@given(
    st.sampled_from(sorted(STORED)),
    st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([1, 7, 64, 10**6]),
    st.booleans(),
)
def test_linear_of_any_type_and_block_size_equals_product_in_double_precision(
    kind: str, shape: tuple[int, int, int], block: int, shared: bool
) -> None:
    n_pos, d_in, d_out = shape
    weight, b, x = STORED[kind](draw(d_out, d_in)), draw(d_out), draw(n_pos, d_in)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK", block)
        if shared:
            patch.setattr("qkv_cli.core.layers.WORTH_SHARING", 0)
        [y] = apply_linears((Linear(weight, b), x))
    expected = x.astype(np.float64) @ float32(weight).astype(np.float64).T + b
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-4)
    assert y.dtype == np.float32


@pytest.mark.parametrize("kind", sorted(STORED))
def test_split_linear_returns_consecutive_outputs(kind: str) -> None:
    fused, x = Linear(STORED[kind](draw(9, 4)), draw(9)), draw(3, 4)
    parts = [linear(x) for linear in split_linear(fused, [2, 3, 4])]
    assert [part.shape[1] for part in parts] == [2, 3, 4]
    np.testing.assert_allclose(np.hstack(parts), fused(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(STORED))
def test_split_interleaved_returns_outputs_of_queries_keys_and_values(kind: str) -> None:
    n_kv_heads, n_query_per_key, d_head = 3, 2, 5
    d_out = n_kv_heads * (n_query_per_key + 2) * d_head
    fused, x = Linear(STORED[kind](draw(d_out, 4)), draw(d_out)), draw(3, 4)
    q, k, v = (linear(x) for linear in split_interleaved(fused, n_kv_heads, n_query_per_key))
    heads = fused(x).reshape(3, n_kv_heads, n_query_per_key + 2, d_head)
    for part, head in ((q, slice(0, 2)), (k, slice(2, 3)), (v, slice(3, 4))):
        np.testing.assert_allclose(part, heads[:, :, head].reshape(3, -1), rtol=1e-6, atol=1e-6)


def test_linear_holds_a_block_of_a_narrow_matrix_not_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrays, "_BLOCK", 2**14)
    linear, x = Linear(bfloat16(draw(1024, 512)), None), draw(2, 512)
    linear(x)
    tracemalloc.start()
    linear(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 512 / 8


def mapped(path: Path, x: Array) -> Array:
    """The numbers of a file, behind 8 bytes of something else."""
    path.write_bytes(bytes(8) + x.tobytes())
    return np.asarray(np.memmap(path, mode="r"))[8:].view("<f4").reshape(x.shape)


def resident(x: Array) -> int:
    """The resident bytes of the mapping that a tensor lies in."""
    address = x.__array_interface__["data"][0]
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        start, _, rest = line.partition("-")
        if ":" not in start and int(start, 16) <= address < int(rest.split()[0], 16):
            return next(1024 * int(row.split()[1]) for row in lines if row.startswith("Rss:"))
    raise AssertionError("the tensor is not mapped")


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
@pytest.mark.parametrize("is_large", [True, False])
def test_release_frees_pages_of_large_mapped_files_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_large: bool
) -> None:
    monkeypatch.setattr(arrays, "_LARGE_FILE", 2**20 if is_large else 2**30)
    x = draw(1024, 512)
    tensor = mapped(tmp_path / "weights", x)
    np.testing.assert_array_equal(tensor, x)
    assert resident(tensor) > x.nbytes / 2
    release(tensor)
    assert (resident(tensor) <= 2 * mmap.PAGESIZE) == is_large
    np.testing.assert_array_equal(tensor[7], x[7])


def test_release_accepts_what_is_not_mapped() -> None:
    release(draw(2, 3))
    release(packed(draw(2, 3)))
