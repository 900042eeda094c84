"""Sizes and times with two significant digits."""

from __future__ import annotations

import pytest

from qkv_cli.render.terminal.models import duration, rounded_amount


@pytest.mark.parametrize(
    ("n_bytes", "expected"),
    [
        (7, "7 B"),
        (1234, "1.2 KiB"),
        (134 * 2**20, "130 MiB"),
        (996 * 2**20, "1,000 MiB"),
        (2150 * 2**20, "2.1 GiB"),
        (1234 * 2**30, "1,200 GiB"),
    ],
)
def test_rounded_amount_has_two_digits(n_bytes: int, expected: str) -> None:
    assert rounded_amount(n_bytes) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0 ms"),
        (0.00412, "4.1 ms"),
        (0.0404, "40 ms"),
        (0.994, "990 ms"),
        (0.996, "1 second"),
        (1.54, "1.5 seconds"),
        (99.4, "99 seconds"),
        (119.0, "2 minutes"),
        (9000.0, "2.5 hours"),
        (3.7e5, "4.3 days"),
        (1e9, "12,000 days"),
        (1e18, "12,000,000,000,000 days"),
    ],
)
def test_duration_has_two_digits_and_a_unit(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
