"""DeBERTa's own parts against loops and hand arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_traces import FixedBias

from qkv_cli.core.activations import relu
from qkv_cli.core.attention import split_heads
from qkv_cli.core.block import Attention, Convolution
from qkv_cli.core.layers import Linear
from qkv_cli.core.positions import Disentangled, log_buckets

RNG = np.random.default_rng(3)


def linear(d_in: int, d_out: int) -> Linear:
    return Linear(RNG.normal(size=(d_out, d_in)), RNG.normal(size=d_out))


@pytest.mark.parametrize("kinds", [{"c2p"}, {"p2c"}, {"c2p", "p2c"}])
def test_disentangled_bias_uses_vector_of_clipped_relative_position(kinds: set[str]) -> None:
    """Two heads of 3, more queries than keys, distances beyond the span."""
    table, to_k, to_q = RNG.normal(size=(6, 5)), linear(5, 6), linear(5, 6)
    q, k = RNG.normal(size=(2, 7, 3)), RNG.normal(size=(2, 4, 3))
    relative = Disentangled(
        table, to_k if "c2p" in kinds else None, to_q if "p2c" in kinds else None
    )
    got = relative.of(q, k).block(slice(None), slice(None))
    keys, queries = split_heads(to_k(table), 3), split_heads(to_q(table), 3)
    for h in range(2):
        for i in range(7):
            for j in range(4):
                row = min(max(i - j + 3, 0), 5)
                expected = 0.0
                if "c2p" in kinds:
                    expected += q[h, i] @ keys[h, row]
                if "p2c" in kinds:
                    expected += k[h, j] @ queries[h, row]
                assert got[h, i, j] == pytest.approx(expected)


def test_trace_scores_include_the_disentangled_terms_and_the_bias() -> None:
    q, k, v, o = linear(5, 6), linear(5, 6), linear(5, 6), linear(6, 5)
    relative = Disentangled(RNG.normal(size=(4, 5)), k, q)
    attn = Attention(q, k, v, o, d_head=3, scale=0.2, relative=relative)
    x, mask = RNG.normal(size=(6, 5)), np.where(np.tri(6) > 0, 0.0, -np.inf)[None]
    for bias in (None, FixedBias(mask)):
        trace = attn.trace(x, x, bias, "softmax")
        added = relative.of(trace.q, trace.k).block(slice(None), slice(None))
        expected = 0.2 * (trace.q @ trace.k.swapaxes(-1, -2) + added)
        np.testing.assert_allclose(trace.scores(), expected + (0 if bias is None else mask))


def test_log_buckets_are_exact_for_near_and_shared_for_far_distances() -> None:
    """Of 8 buckets, up to 4 as they are; then ceil(log(d / 4) / log(15 / 4) * 3) more."""
    distance = np.arange(-18, 19)
    got = log_buckets(distance, 8, 16)
    for d, bucket in zip(distance.tolist(), got.tolist(), strict=True):
        size = abs(d)
        if size > 4:
            size = 4 + math.ceil(math.log(size / 4) / math.log(15 / 4) * 3 - 1e-6)
        assert bucket == math.copysign(size, d)
    assert [*got[distance >= 4]] == [4, 5, 5, 6, 6, 6, 7, 7, 7, 7, 7, 7, 8, 8, 8]


def test_convolution_pads_both_ends_with_zeros() -> None:
    W, b, x = RNG.normal(size=(5, 2, 3)), RNG.normal(size=3), RNG.normal(size=(4, 2))
    got = Convolution(W, b, relu)(x)
    for i in range(4):
        parts = [x[i + tap - 2] @ W[tap] for tap in range(5) if 0 <= i + tap - 2 < 4]
        np.testing.assert_allclose(got[i], np.maximum(b + np.sum(parts, axis=0), 0))
