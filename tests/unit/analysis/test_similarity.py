"""Divergence, cosine and correlation against a few lines of plain arithmetic."""

from __future__ import annotations

from math import isnan, log2, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.analysis.compare import cosine, jensen_shannon, pearson

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


def test_cosine_and_pearson_match_reference() -> None:
    a, b = np.array([1.0, 2, 3, 5]), np.array([2.0, 1, 4, 4])
    dot = 1 * 2 + 2 * 1 + 3 * 4 + 5 * 4
    assert cosine(a, b) == pytest.approx(dot / sqrt(39 * 37))
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert cosine(a, a) == 1.0
    assert pearson(a, -a) == pytest.approx(-1.0)


def test_cosine_and_pearson_of_constant_or_empty_input_are_nan() -> None:
    a = np.array([0.25, 0.25])
    assert isnan(pearson(a, np.array([0.1, 0.9])))
    assert isnan(pearson(np.array([]), np.array([])))
    assert isnan(cosine(np.zeros(2), a))
