"""How numbers are written in maps and tables: no zero before the point, three digits at most."""

from __future__ import annotations

import pytest

from qkv_cli.figures import cell_number, number, probability, thousandths


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (0.0, "0"),
        (-0.001, "0"),
        (0.93, ".93"),
        (-0.31, "-.31"),
        (0.996, "1.0"),
        (-9.94, "-9.9"),
        (9.96, "10"),
        (123.4, "123"),
        (999.4, "999"),
        (1234.0, "1e3"),
        (-3.4e38, "-3e38"),
    ],
)
def test_cell_number_has_at_most_three_digits(weight: float, text: str) -> None:
    assert cell_number(weight) == text


@pytest.mark.parametrize(("weight", "text"), [(0.0312, ".031"), (0.0995, ".10"), (0.0004, "0")])
def test_number_below_one_tenth_has_third_decimal(weight: float, text: str) -> None:
    assert number(weight) == text


@pytest.mark.parametrize(("p", "text"), [(0.0004, "<.001"), (0.0, "0"), (0.773, ".77")])
def test_probability_of_small_positive_value_is_not_rounded_to_0(p: float, text: str) -> None:
    assert probability(p) == text


def test_thousandths_keeps_third_decimal() -> None:
    assert (thousandths(0.7284), thousandths(1.5)) == (".728", "1.500")
