"""Rotary positions: queries and keys are turned by an angle that grows with their place.

Su et al. 2021 (RoFormer, arXiv 2104.09864), section 3.2. How the angles of a long text are
slowed down differs from model to model; all of it ends in a frequency for each pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qkv_cli.core.arrays import Array

# Radians per position for each pair of dimensions, [d_rotary / 2], of a text of n tokens.
Frequencies = Callable[[int], Array]


@dataclass(frozen=True, slots=True)
class Rotary:
    frequencies: Frequencies
    interleaved: bool = False  # pairs are (2i, 2i + 1), not (i, i + half)
    factor: float = 1.0  # of what was turned (YaRN's attention factor)

    def __call__(self, x: Array) -> Array:
        """Turn x, [n_heads, n_pos, d_head]; dimensions beyond the pairs stay."""
        n_pos = x.shape[1]
        inv_freq = self.frequencies(n_pos)
        half = len(inv_freq)
        angle = np.arange(n_pos, dtype=np.float32)[:, None] * inv_freq  # [n_pos, half]
        cos, sin = self.factor * np.cos(angle), self.factor * np.sin(angle)
        first = np.s_[..., 0 : 2 * half : 2] if self.interleaved else np.s_[..., :half]
        second = np.s_[..., 1 : 2 * half : 2] if self.interleaved else np.s_[..., half : 2 * half]
        out = x.copy()
        out[first] = x[first] * cos - x[second] * sin
        out[second] = x[second] * cos + x[first] * sin
        return out


def default(d_rotary: int, theta: float) -> Array:
    """[d_rotary / 2]: fastest first."""
    exponents = np.arange(0, d_rotary, 2, dtype=np.float32) / np.float32(d_rotary)
    return (1.0 / np.float32(theta) ** exponents).astype(np.float32)


def dynamic(d_rotary: int, theta: float, factor: float, n: int, n_known: int) -> Array:
    """A larger base for texts longer than those it was trained on (NTK-aware scaling)."""
    n = max(n, n_known)
    grown = (factor * n / n_known - (factor - 1)) ** (d_rotary / (d_rotary - 2))
    return default(d_rotary, theta * grown)


def yarn(
    d_rotary: int,
    theta: float,
    factor: float,
    n_known: int,
    *,
    fast: float = 32.0,
    slow: float = 1.0,
    truncate: bool = True,
) -> Array:
    """Slow turns are stretched, fast ones stay, a ramp between (Peng et al. 2023, 2309.00071)."""

    def dimension(turns: float) -> float:
        return d_rotary * math.log(n_known / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(fast), dimension(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d_rotary - 1)
    ramp = (np.arange(d_rotary // 2) - low) / (high - low or 0.001)
    stretched = np.clip(ramp, 0, 1)
    plain = default(d_rotary, theta)
    found: Array = plain / factor * stretched + plain * (1 - stretched)
    return found.astype(np.float32)


def llama3(
    d_rotary: int, theta: float, factor: float, n_known: int, *, low: float, high: float
) -> Array:
    """Llama 3.1: wavelengths beyond n_known / low are stretched, below n_known / high stay."""
    plain = default(d_rotary, theta)
    turns = n_known * plain / (2 * math.pi)  # within the length it was trained on
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    found: Array = (1 - smooth) * plain / factor + smooth * plain
    return found.astype(np.float32)
