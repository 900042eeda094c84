"""Divergence, cosine and correlation against a few lines of plain arithmetic."""

from __future__ import annotations

from functools import reduce
from math import isnan, log2, sqrt
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.analysis.compare import Moments, jensen_shannon

rows = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4).filter(lambda r: sum(r) > 0.01)


def entropy(row: list[float]) -> float:
    return -sum(x * log2(x) for x in row if x > 0)


@given(a=rows, b=rows)
def test_jensen_shannon_equals_entropy_of_mean_minus_mean_entropy(a, b) -> None:
    p, q = [x / sum(a) for x in a], [x / sum(b) for x in b]
    middle = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    expected = entropy(middle) - (entropy(p) + entropy(q)) / 2
    [result] = jensen_shannon(np.array([a]), np.array([b]))
    assert result == pytest.approx(expected, abs=1e-9)
    assert -1e-12 <= result <= 1 + 1e-12


@given(a=rows)
def test_jensen_shannon_of_row_with_itself_is_0(a) -> None:
    assert jensen_shannon(np.array([a]), np.array([a]))[0] == 0.0


def test_jensen_shannon_of_disjoint_rows_is_1_and_of_equal_rows_is_0() -> None:
    a, b = np.array([[1.0, 0, 0], [0.5, 0.5, 0]]), np.array([[0, 0.5, 0.5], [0.5, 0.5, 0]])
    assert jensen_shannon(a, b) == pytest.approx([1.0, 0.0])


def test_jensen_shannon_of_row_of_zeros_is_nan() -> None:
    a, b = np.array([[0.0, 0.0], [0.3, 0.7]]), np.array([[0.3, 0.7], [0.0, 0.0]])
    assert np.isnan(jensen_shannon(a, b)).all()


@pytest.mark.parametrize("cuts", [[], [1], [0, 2, 2, 3]])
def test_moments_in_any_parts_match_reference(cuts: list[int]) -> None:
    a, b = np.array([1.0, 2, 3, 5]), np.array([2.0, 1, 4, 4])
    dot = 1 * 2 + 2 * 1 + 3 * 4 + 5 * 4

    def moments(x: np.ndarray, y: np.ndarray) -> Moments:
        return reduce(add, map(Moments.of, np.split(x, cuts), np.split(y, cuts)))

    assert moments(a, b).cosine == pytest.approx(dot / sqrt(39 * 37))
    assert moments(a, b).pearson == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert moments(a, a).cosine == pytest.approx(1.0, abs=1e-15)
    assert moments(a, -a).pearson == pytest.approx(-1.0)


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=30),
    st.integers(0, 30),
    st.floats(-100, 100),
)
def test_moments_of_two_parts_equal_those_of_all(pairs, cut: int, shift: float) -> None:
    """Also far from 0, where sums of squares would lose digits."""
    a, b = np.array(pairs).T + shift
    both = Moments.of(a[:cut], b[:cut]) + Moments.of(a[cut:], b[cut:])
    assert both.n == len(a)
    np.testing.assert_allclose(both.mean, [a.mean(), b.mean()], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(both.centred, np.cov(a, b, bias=True) * len(a), atol=1e-9)


def test_cosine_and_pearson_of_constant_or_empty_input_are_nan() -> None:
    a, nothing = np.array([0.25, 0.25]), np.zeros(0)
    assert isnan(Moments.of(a, np.array([0.1, 0.9])).pearson)
    assert isnan(Moments.of(nothing, nothing).pearson)
    assert isnan(Moments.of(np.zeros(2), a).cosine)
