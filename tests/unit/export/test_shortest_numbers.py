"""Numbers as text: exact, and as short as numpy's own shortest."""

from __future__ import annotations

import numpy as np
from export_examples import finite, quick
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.core.attention import softmax
from qkv_cli.export.document import decimals


@quick
@given(st.lists(finite, min_size=1, max_size=20))
def test_decimals_of_any_number_read_back_as_same_float32(numbers: list[float]) -> None:
    [row] = decimals(np.array([numbers], dtype=np.float32))
    assert [np.float32(text) for text in row.split(",")] == [np.float32(x) for x in numbers]


def test_decimals_of_random_bit_patterns_read_back_as_same_float32() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x)]
    [row] = decimals(x[None])
    assert np.array_equal(np.array(row.split(","), dtype=np.float64).astype(np.float32), x)


def test_decimals_are_as_short_as_numpy_shortest() -> None:
    x = softmax(np.random.default_rng(1).normal(0, 3, (50, 40)).astype(np.float32))
    x[0, :8] = [0, 1, 0.5, 0.1, 1e-5, 123456, 0.001, 7]
    numbers = ",".join(decimals(x)).split(",")
    for text, number in zip(numbers, x.flat):
        assert float(text) == float(str(number))
        digits = np.format_float_scientific(number, unique=True, trim="-").partition("e")[0]
        assert len(text.partition("e")[0].replace(".", "").strip("0")) <= len(
            digits.replace(".", "")
        )
    assert numbers[:8] == ["0", "1", "0.5", "0.1", "1e-05", "123456", "0.001", "7"]
