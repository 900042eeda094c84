"""The mathematics against hand arithmetic and against loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from made_traces import trace_of

from qkv_cli.core import layers, parallel
from qkv_cli.core.activations import gelu
from qkv_cli.core.arrays import Array
from qkv_cli.core.attention import (
    hard,
    linear,
    merge_heads,
    softmax,
    split_heads,
)
from qkv_cli.core.block import Attention, Block
from qkv_cli.core.layers import Embedding, Linear, Norm
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import OffsetBias, causal_mask, clipped_offset_bias, local_mask
from qkv_cli.names import Weighting

INF = math.inf
numbers = st.floats(-80, 80, width=32)
matrices = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6), elements=numbers
)


# softmax


def test_softmax_of_logarithms_normalizes_numbers() -> None:
    x = np.log(np.array([[1.0, 2.0, 5.0], [4.0, 4.0, 8.0]]))
    np.testing.assert_allclose(softmax(x), [[1 / 8, 2 / 8, 5 / 8], [1 / 4, 1 / 4, 1 / 2]])


def test_softmax_of_masked_keys_and_rows_is_0() -> None:
    got = softmax(np.array([[0.0, -INF, 0.0], [-INF, -INF, -INF]]))
    np.testing.assert_array_equal(got, [[0.5, 0, 0.5], [0, 0, 0]])


def test_softmax_of_large_scores_does_not_overflow() -> None:
    x = np.array([1000.0, 999.0, -1000.0], np.float32)
    np.testing.assert_allclose(softmax(x), [1 / (1 + 1 / math.e), 1 / (1 + math.e), 0], rtol=1e-6)


@given(matrices)
def test_softmax_rows_sum_to_1_and_keep_order_of_scores(x: Array) -> None:
    got = softmax(x)
    assert got.shape == x.shape and got.dtype == x.dtype
    np.testing.assert_allclose(got.sum(axis=-1), 1, rtol=1e-5)
    ascending = np.take_along_axis(got, x.argsort(axis=-1), axis=-1)
    assert (np.diff(ascending, axis=-1) >= 0).all()


@given(matrices, numbers)
def test_softmax_is_invariant_to_constant_added_to_row(x: Array, c: float) -> None:
    wide = x.astype(np.float64)
    np.testing.assert_allclose(softmax(wide + c), softmax(wide), rtol=1e-9)


# The other weightings


def test_hard_takes_first_of_equal_scores_and_0_in_masked_row() -> None:
    scores = np.array([[1.0, 3.0, 3.0], [-5.0, -INF, -6.0], [-INF, -INF, -INF]])
    np.testing.assert_array_equal(hard(scores), [[0, 1, 0], [1, 0, 0], [0, 0, 0]])


@given(matrices)
def test_hard_is_limit_of_softmax_of_scaled_scores(x: Array) -> None:
    distinct = np.round(x.astype(np.float64))
    distinct += np.arange(x.shape[-1]) * 0.01  # no ties
    np.testing.assert_allclose(softmax(distinct * 1e5), hard(distinct), atol=1e-12)


def test_linear_keeps_scores_and_puts_0_where_masked() -> None:
    np.testing.assert_array_equal(linear(np.array([[-2.5, -INF, 4.0]])), [[-2.5, 0, 4.0]])


# Heads beside each other


def test_split_heads_gives_each_head_consecutive_columns() -> None:
    x = np.array([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]], np.float32)  # 2 places, 3 heads of 2
    got = split_heads(x, 2)
    np.testing.assert_array_equal(got, [[[1, 2], [7, 8]], [[3, 4], [9, 10]], [[5, 6], [11, 12]]])


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_merge_heads_undoes_split_heads(n_pos: int, n_heads: int, d_head: int) -> None:
    x = np.arange(n_pos * n_heads * d_head, dtype=np.float32).reshape(n_pos, -1)
    split = split_heads(x, d_head)
    assert split.shape == (n_heads, n_pos, d_head)
    np.testing.assert_array_equal(merge_heads(split), x)


# Positions


def whole(by_offset: np.ndarray) -> np.ndarray:
    """[n_heads, 2 n - 1] -> [n_heads, n, n]."""
    n = (by_offset.shape[1] + 1) // 2
    return OffsetBias(by_offset, by_offset > -INF, n).block(slice(None), slice(None))


def bias_of(stack: Stack, n: int, window: int | None = None, *, causal=False) -> np.ndarray:
    return stack.bias(n, window, causal=causal).block(slice(None), slice(None))


def mask_of(stack: Stack, n: int, window: int | None = None, *, causal=False) -> np.ndarray:
    return stack.bias(n, window, causal=causal).mask(slice(None), slice(None))


def test_causal_mask_hides_later_keys_and_keys_before_window() -> None:
    np.testing.assert_array_equal(whole(causal_mask(3)), [[[1, 0, 0], [1, 1, 0], [1, 1, 1]]])
    np.testing.assert_array_equal(whole(causal_mask(3, 2)), [[[1, 0, 0], [1, 1, 0], [0, 1, 1]]])


def test_local_mask_shows_window_on_both_sides() -> None:
    np.testing.assert_array_equal(
        whole(local_mask(4, 1)), [[[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]]
    )


def test_stack_mask_hides_offsets_of_minus_infinity() -> None:
    table = np.array([[-1.0, 10], [-INF, -INF], [1, 30]])
    hidden = [[0, 1], [1, 0]]
    np.testing.assert_array_equal(mask_of(Stack([], offsets=table), 2), [hidden, hidden])
    table[1, 1] = 20  # in the first head alone
    np.testing.assert_array_equal(mask_of(Stack([], offsets=table), 2), [hidden, [[1, 1], [1, 1]]])
    table[1, 0] = 0
    assert mask_of(Stack([], offsets=table), 2).all()


def test_offset_bias_takes_row_of_offset_and_clips_far_offsets() -> None:
    table = np.array([[-1.0, 10], [-INF, 20], [1, 30]])  # clip 1, two heads
    got = whole(clipped_offset_bias(table, 4))
    np.testing.assert_array_equal(
        got[0], [[-INF, 1, 1, 1], [-1, -INF, 1, 1], [-1, -1, -INF, 1], [-1, -1, -1, -INF]]
    )
    np.testing.assert_array_equal(
        got[1], [[20, 30, 30, 30], [10, 20, 30, 30], [10, 10, 20, 30], [10, 10, 10, 20]]
    )


@given(st.integers(0, 4), st.integers(1, 12))
def test_offset_bias_equals_table_lookup_for_every_pair(clip: int, n: int) -> None:
    table = np.random.default_rng(clip).normal(size=(2 * clip + 1, 3))
    got = whole(clipped_offset_bias(table, n))
    assert got.shape == (3, n, n)
    for i in range(n):
        for j in range(n):
            row = clip + max(-clip, min(clip, j - i))
            np.testing.assert_array_equal(got[:, i, j], table[row])


def test_stack_bias_adds_causal_mask_to_offset_bias() -> None:
    offsets = np.array([[1.0], [2.0], [3.0]])
    plain = Stack([], offsets=offsets)
    np.testing.assert_array_equal(bias_of(plain, 2), [[[2, 3], [1, 2]]])
    np.testing.assert_array_equal(bias_of(plain, 2, causal=True), [[[2, -INF], [1, 2]]])
    np.testing.assert_array_equal(bias_of(Stack([], causal=True), 2), [[[0, -INF], [0, 0]]])
    assert Stack([]).bias(2, causal=False) is None


def test_stack_mask_combines_offsets_window_and_causal_mask() -> None:
    no_self = np.array([[1.0], [-INF], [3.0]])
    np.testing.assert_array_equal(
        mask_of(Stack([], offsets=no_self), 3, causal=True), [[[0, 0, 0], [1, 0, 0], [1, 1, 0]]]
    )
    np.testing.assert_array_equal(mask_of(Stack([]), 3, 1), whole(local_mask(3, 1)))
    np.testing.assert_array_equal(mask_of(Stack([], causal=True), 3, 2), whole(causal_mask(3, 2)))


# Attention


def test_attention_matches_two_by_two_example_by_hand() -> None:
    """One head, two by two: q.k = [[2, 0], [0, 4]], halved, plus a bias of [0, log 3]."""
    q = np.array([[[2.0, 0.0], [0.0, 4.0]]])
    k = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    v = np.array([[[8.0, 0.0], [0.0, 4.0]]])
    bias = np.array([[[0.0, math.log(3)]]])
    got = trace_of(q, k, v, scale=0.5, bias=bias)
    np.testing.assert_allclose(got.scores(), [[[1, math.log(3)], [0, 2 + math.log(3)]]])
    first, second = math.e / (math.e + 3), 1 / (1 + 3 * math.e**2)
    np.testing.assert_allclose(got.pattern(), [[[first, 1 - first], [second, 1 - second]]])
    expected = [[[8 * first, 4 * (1 - first)], [8 * second, 4 * (1 - second)]]]
    np.testing.assert_allclose(got.z, expected)


def weights(scores: list[float], weighting: Weighting) -> list[float]:
    seen = [s for s in scores if s != -INF]
    if weighting == "linear":
        return [0.0 if s == -INF else s for s in scores]
    if not seen:
        return [0.0] * len(scores)
    if weighting == "hard":
        best = scores.index(max(scores))
        return [float(j == best) for j in range(len(scores))]
    total = sum(math.exp(s) for s in seen)
    return [math.exp(s) / total for s in scores]


@pytest.mark.parametrize("weighting", ["softmax", "hard", "linear"])
@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(4, 4), (6, 2), (3, 1)])
def test_attention_equals_loops_in_float64(
    weighting: Weighting, n_heads: int, n_kv_heads: int
) -> None:
    """Fewer key heads than query heads, fewer queries than keys, a row that is masked whole."""
    rng = np.random.default_rng(n_heads)
    n_query, n_key, d_head, scale = 5, 7, 3, 0.7
    q = rng.normal(size=(n_heads, n_query, d_head))
    k, v = rng.normal(size=(2, n_kv_heads, n_key, d_head))
    bias = rng.normal(size=(n_heads, n_query, n_key))
    bias[rng.random(bias.shape) < 0.3] = -INF
    bias[1, 2] = -INF
    got = trace_of(q, k, v, scale=scale, bias=bias, weighting=weighting)

    for h in range(n_heads):
        kv = h // (n_heads // n_kv_heads)
        for i in range(n_query):
            products = [sum(q[h, i, d] * k[kv, j, d] for d in range(d_head)) for j in range(n_key)]
            row = [scale * p + bias[h, i, j] for j, p in enumerate(products)]
            w = weights(row, weighting)
            z = [sum(w[j] * v[kv, j, d] for j in range(n_key)) for d in range(d_head)]
            np.testing.assert_allclose(got.scores()[h, i], row)
            np.testing.assert_allclose(got.pattern()[h, i], w, atol=1e-15)
            np.testing.assert_allclose(got.z[h, i], z, atol=1e-12)
    assert not got.pattern()[1, 2].any() and not got.z[1, 2].any()


def test_attention_trace_keeps_input_arrays() -> None:
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 4, 3))
    got = trace_of(q, k, v, scale=1)
    assert got.q is q and got.k is k and got.v is v and got.bias is None


def test_attention_with_indivisible_head_counts_raises_value_error() -> None:
    q, kv = np.zeros((3, 1, 2)), np.zeros((2, 1, 2))
    with pytest.raises(ValueError, match="3 query heads are not a multiple of 2"):
        trace_of(q, kv, kv)


# The parts of a model


def test_attention_layer_projects_attends_and_mixes_heads() -> None:
    """Two heads of 2 over d_model 3, from 2 places to 4: against the formulas, head by head."""
    rng = np.random.default_rng(1)
    linears = [Linear(rng.normal(size=(4, 3)), rng.normal(size=4)) for _ in range(3)]
    mix = Linear(rng.normal(size=(3, 4)), rng.normal(size=3))
    attn = Attention(*linears, mix, d_head=2, scale=0.3)
    x, memory = rng.normal(size=(2, 3)), rng.normal(size=(4, 3))
    trace = attn.trace(x, memory, None, "softmax")
    out = attn.o(merge_heads(trace.z))

    (Wq, bq), (Wk, bk), (Wv, bv) = ((lin.matrix(), lin.b) for lin in linears)
    zs = []
    for h in range(2):
        part = slice(2 * h, 2 * h + 2)
        scores = (x @ Wq + bq)[:, part] @ (memory @ Wk + bk)[:, part].T * 0.3
        np.testing.assert_allclose(trace.scores()[h], scores)
        e = np.exp(scores)
        zs.append(e / e.sum(1, keepdims=True) @ (memory @ Wv + bv)[:, part])
    np.testing.assert_allclose(out, np.concatenate(zs, axis=1) @ mix.matrix() + mix.b)
    assert attn.n_heads == 2


def test_norm_with_and_without_centring_matches_values_by_hand() -> None:
    x = np.array([[1.0, 2.0, 3.0, 6.0]])  # mean 3, variance 3.5, mean square 12.5
    plain = Norm(None, None, eps=0.5, centred=True)(x)
    np.testing.assert_allclose(plain, [[-1, -0.5, 0, 1.5]])  # divided by sqrt(4)
    w, b = np.array([1.0, 2, 3, 4]), np.array([0.0, 1, 0, 1])
    scaled = Norm(w, b, eps=3.5, centred=False)(x)
    np.testing.assert_allclose(scaled, [[0.25, 2, 2.25, 7]])  # divided by sqrt(16), times w, plus b


def test_embedding_applies_row_scale_and_subtracts_mean() -> None:
    table = np.array([[10, -20], [100, 50], [-127, 127]], np.int8)
    embed = Embedding(table, np.array([0.5, 0.01, 1], np.float32), np.array([1, -1], np.float32))
    got = embed([1, 0, 1])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[0, 1.5], [4, -9], [0, 1.5]], atol=1e-6)


# speed


def test_gelu_equals_x_times_normal_cdf() -> None:
    x = np.linspace(-30, 30, 4001, dtype=np.float32)
    wanted = [value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()]
    np.testing.assert_allclose(gelu(x), wanted, rtol=2.5e-7, atol=1.5e-7)


@pytest.mark.parametrize("n_cores", [1, 3])
def test_linear_and_attention_give_same_result_on_several_cores(
    monkeypatch: pytest.MonkeyPatch, n_cores: int
) -> None:
    rng = np.random.default_rng(0)
    x, W, b = (rng.normal(size=shape).astype(np.float32) for shape in ((7, 10), (10, 11), (11,)))
    q, k, v = (rng.normal(size=(5, 7, 4)).astype(np.float32) for _ in "qkv")
    bias = np.where(rng.random((5, 7, 7)) < 0.3, -INF, 0).astype(np.float32)
    one = Linear(W.T, b)(x, np.tanh)
    trace = trace_of(q, k, v, scale=0.5, bias=bias, softcap=2.0)
    assert trace.z.any()  # computed before the cores change
    monkeypatch.setattr(parallel, "WORTH_SHARING", 0)
    for module in (parallel, layers):
        monkeypatch.setattr(module, "N_CORES", n_cores)
        monkeypatch.setattr(module, "BLOCK", 14)
    np.testing.assert_allclose(Linear(W.T, b)(x, np.tanh), one, atol=1e-6)
    shared = trace_of(q, k, v, scale=0.5, bias=bias, softcap=2.0)
    np.testing.assert_allclose(shared.scores(), trace.scores(), atol=1e-6)
    np.testing.assert_allclose(shared.pattern(), trace.pattern(), atol=1e-6)
    np.testing.assert_allclose(shared.z, trace.z, atol=1e-6)


def test_parallel_reraises_error_of_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(item: int) -> None:
        if item == 7:
            raise ValueError(item)

    with pytest.raises(ValueError, match="7"):
        parallel.parallel(run, range(50))


@pytest.mark.parametrize("scale", [1.0, 0.5, 3.0])
def test_model_layers_multiply_embeddings_by_embed_scale(scale: float) -> None:
    table = np.array([[1, -2], [3, 0.25]], np.float32)
    model = Model(Embedding(table), {"encoder": Stack([Block()])}, embed_scale=scale)
    [layer] = model.layers([1, 0])
    np.testing.assert_array_equal(layer.resid_pre, scale * table[::-1])
