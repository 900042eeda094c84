"""Frequencies of rotary positions, by hand, where the published checkpoints do not reach."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qkv_cli.core.positions import (
    dynamic_frequencies,
    llama3_frequencies,
    rope_frequencies,
    yarn_frequencies,
)

# Four pairs; each turns 2 ** .25 times slower than the one before it.
PLAIN = [1, 2**-0.25, 2**-0.5, 2**-0.75]
# The pair i turns KNOWN / (2 pi) * 2 ** (-i / 4) = 2 ** (3 - i / 4) times in the known length.
KNOWN = 2 * math.pi * 8


def test_default_frequencies_are_powers_of_theta() -> None:
    np.testing.assert_allclose(rope_frequencies(8, 2.0), PLAIN, rtol=1e-6)
    np.testing.assert_allclose(rope_frequencies(4, 100.0), [1, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("fast", "slow", "truncate", "stretched"),
    [
        # 2 ** (3 - i / 4) turns: a ramp from i = 1 to i = 3.
        (2**2.75, 2**2.25, False, [0, 0, 1 / 2, 1]),
        # From 1.5 to 2.5, and whole numbers around them: from 1 to 3.
        (2**2.625, 2**2.375, False, [0, 0, 1 / 2, 1]),
        (2**2.625, 2**2.375, True, [0, 0, 1 / 2, 1]),
        # From 0.5 to 2.75, or from 0 to 3.
        (2**2.875, 2**2.3125, False, [0, 2 / 9, 2 / 3, 1]),
        (2**2.875, 2**2.3125, True, [0, 1 / 3, 2 / 3, 1]),
        # From -2 to 2: it begins with the first pair.
        (2**3.5, 2**2.5, False, [0, 1 / 2, 1, 1]),
        # From 2 to 12: it ends with the last dimension, 7.
        (2**2.5, 1, False, [0, 0, 0, 1 / 5]),
        # From 2 to 2: a step.
        (2**2.5, 2**2.5, False, [0, 0, 0, 1]),
    ],
)
def test_yarn_scales_low_frequencies_along_ramp(
    fast: float, slow: float, truncate: bool, stretched: list[float]
) -> None:
    result = yarn_frequencies(8, 2.0, 4.0, KNOWN, beta_fast=fast, beta_slow=slow, truncate=truncate)  # type: ignore[arg-type]
    expected = [f / 4 * s + f * (1 - s) for f, s in zip(PLAIN, stretched, strict=True)]
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_dynamic_base_grows_only_beyond_original_length() -> None:
    np.testing.assert_allclose(dynamic_frequencies(8, 2.0, 4.0, 10, 10), PLAIN, rtol=1e-6)
    np.testing.assert_allclose(dynamic_frequencies(8, 2.0, 4.0, 7, 10), PLAIN, rtol=1e-6)
    # 20 tokens: theta times (4 * 20 / 10 - 3) ** (8 / 6).
    theta = 2 * 5 ** (4 / 3)
    expected = [theta ** (-i / 4) for i in range(4)]
    np.testing.assert_allclose(dynamic_frequencies(8, 2.0, 4.0, 20, 10), expected, rtol=1e-6)


def test_llama3_scales_low_frequencies_and_keeps_high_ones() -> None:
    # 8, 6.73, 5.66 and 4.76 turns: the first is fast, the last is slow, two are between.
    result = llama3_frequencies(8, 2.0, 4.0, KNOWN, low=5, high=7)  # type: ignore[arg-type]
    turns = [8 * f for f in PLAIN]
    smooth = [1, (turns[1] - 5) / 2, (turns[2] - 5) / 2, 0]
    expected = [f * (s + (1 - s) / 4) for f, s in zip(PLAIN, smooth, strict=True)]
    np.testing.assert_allclose(result, expected, rtol=1e-5)
