"""Maps read block by block equal whole maps, for every way of reading and every kind of bias."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_traces import layer_of, trace_of
from rich.console import Console

from qkv_cli.analysis.compare import Comparison, compare, largest_changes
from qkv_cli.analysis.explain import Explanation, explain_layer, largest_weight
from qkv_cli.analysis.focus import focus
from qkv_cli.analysis.study import FIGURES, HeadStatistics, head_statistics, study
from qkv_cli.core import attention as core_attention
from qkv_cli.core.arrays import Rows
from qkv_cli.core.attention import AttentionTrace
from qkv_cli.core.block import Block
from qkv_cli.core.finite import FiniteCheck, Weights
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.layers import Buckets, Linear
from qkv_cli.core.model import Stack
from qkv_cli.core.parallel import parts
from qkv_cli.core.positions import Disentangled
from qkv_cli.core.tokens import Token
from qkv_cli.errors import CheckpointError, InputError, UsageError
from qkv_cli.export.attention import from_npz, to_csv, to_json, to_npz
from qkv_cli.export.compare import compare_pieces
from qkv_cli.maps import matrix
from qkv_cli.maps.compute import OrderedReader, head_maps
from qkv_cli.maps.head_maps import HeadMap, HeadMaps, checked_rows
from qkv_cli.maps.matrix import LazyMatrix, keep_last, refuse_whole, row_blocks, take
from qkv_cli.maps.merge import merge_words
from qkv_cli.maps.selection import hide_special
from qkv_cli.names import OrderName
from qkv_cli.render.terminal.compare import pictures
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import survey
from qkv_cli.session.load import load
from qkv_cli.session.run import Reading

TEXT = "she sat on the bank and the river was muddy under the apple tree"
CLOSE = 2e-6
READINGS: dict[str, dict[str, Any]] = {
    "weights": {},
    "hard": {"weighting": "hard"},
    "linear": {"weighting": "linear"},
    "causal": {"causal": True},
    "scores": {"show": "scores"},
    "contributions": {"show": "contributions"},
    "rollout": {"show": "rollout"},
    "window": {"window": "2:9"},
    "words": {"merge_words": True},
    "ablated": {"ablate": ("L0H1",)},
    "source": {"source": "the mango was in a bank"},
}


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no maps, and read three rows at once, which does not divide the text."""
    monkeypatch.setattr(core_attention, "KEPT", 0)
    for module in (core_attention, matrix):
        monkeypatch.setattr(module, "BLOCK_CELLS", 3 * len(TEXT.split()))


def maps_of(folder: Path, *, mean: bool = False, **reading: Any) -> HeadMaps:
    return head_maps(load(folder), TEXT, Reading(**reading), layers=["all"], mean=mean)


def numbers(value: object) -> object:
    """Replace the arrays of a document by numpy arrays; null becomes NaN."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], list):
        return np.array(value, dtype=np.float64)
    return [numbers(item) for item in value] if isinstance(value, list) else value


def cells(maps: HeadMaps) -> list[tuple[str, float]]:
    """The lines of a CSV file: all names, and the number, NaN where masked."""
    lines = (line.rpartition(",") for line in "".join(to_csv(maps)).splitlines()[1:])
    return [(names, float(number or "nan")) for names, _, number in lines]


def assert_same(result: object, expected: object) -> None:
    if isinstance(expected, np.ndarray):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=CLOSE)
    elif isinstance(expected, dict):
        assert isinstance(result, dict) and result.keys() == expected.keys()
        for key, item in expected.items():
            assert_same(result[key], item)
    elif isinstance(expected, list):
        assert isinstance(result, list) and len(result) == len(expected)
        for one, other in zip(result, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert result == pytest.approx(expected, rel=1e-5, abs=CLOSE)
    else:
        assert result == expected


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("name", READINGS)
def test_maps_in_blocks_equal_whole_maps(
    tiny_glove: Path, request: pytest.FixtureRequest, name: str, mean: bool
) -> None:
    expected = maps_of(tiny_glove, mean=mean, **READINGS[name])
    include = () if mean or name in ("words", "rollout") else ("scores", "q", "k", "v", "z")
    documents = to_json(expected, include)
    archive = from_npz(to_npz(expected, include))
    table = cells(expected)
    surveys = [survey(expected, m, (4, 5), 6) for m in expected.maps]
    rows = [focus(expected, side, 3).weights for side in ("query", "key")]
    request.getfixturevalue("in_blocks")
    result = maps_of(tiny_glove, mean=mean, **READINGS[name])
    assert name == "rollout" or isinstance(result.maps[0].pattern, LazyMatrix)
    assert_same(numbers(json.loads(to_json(result, include))), numbers(json.loads(documents)))
    for m, other in zip(from_npz(to_npz(result, include)).maps, archive.maps, strict=True):
        for field in ("pattern", "scores", "q", "k", "v", "z", "norms", "mask"):
            if (array := getattr(other, field)) is not None:
                np.testing.assert_allclose(getattr(m, field), array, rtol=1e-5, atol=CLOSE)
    assert [names for names, _ in cells(result)] == [names for names, _ in table]
    amounts = [[x for _, x in of] for of in (cells(result), table)]
    np.testing.assert_allclose(*amounts, rtol=1e-5, atol=CLOSE)
    for side, expected_row in zip(("query", "key"), rows, strict=True):
        np.testing.assert_allclose(focus(result, side, 3).weights, expected_row, atol=CLOSE)
    for m, other in zip(result.maps, surveys, strict=True):
        found = survey(result, m, (4, 5), 6)
        np.testing.assert_allclose(found.cells, other.cells, atol=CLOSE)
        assert found.has_negative == other.has_negative
        links, expected_links = ([link[2] for link in s.links] for s in (found, other))
        np.testing.assert_allclose(links, expected_links, atol=CLOSE)


def test_hide_special_in_blocks_equals_hide_special_of_whole_maps(
    tiny_glove: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "BLOCK_CELLS", 30)
    maps = maps_of(tiny_glove)
    tokens = [replace(t, special=t.i in (0, 5, 13)) for t in maps.queries]
    maps = replace(maps, queries=tokens, keys=tokens)
    lazy_maps = [
        replace(m, pattern=LazyMatrix(m.pattern.shape, m.pattern.__getitem__)) for m in maps.maps
    ]
    expected, result = hide_special(maps), hide_special(replace(maps, maps=lazy_maps))
    assert result.notes == expected.notes
    for m, other in zip(result.maps, expected.maps, strict=True):
        np.testing.assert_array_equal(m.pattern[:], other.pattern)


def test_take_of_rows_and_columns_equals_indexing() -> None:
    array = np.arange(42.0).reshape(7, 6)
    lazy = LazyMatrix((7, 6), lambda rows: array[rows])
    for rows, columns in (([0, 2, 3, 6], [1, 5]), (slice(2, 6), slice(None)), ([], [0])):
        expected = array[rows][:, columns]
        result = take(lazy, rows, columns)
        assert result.shape == expected.shape
        scattered = np.arange(len(expected))[::-2]
        for part in (slice(0, 2), slice(1, None), slice(0, 0), scattered):
            np.testing.assert_array_equal(result[part], expected[part])


def test_keep_last_keeps_the_last_rows_of_each_thread() -> None:
    array, reads = np.arange(8.0).reshape(4, 2), list[Rows]()

    def read(rows: Rows) -> np.ndarray:
        reads.append(rows)
        return array[rows]

    kept, first, second = keep_last(LazyMatrix((4, 2), read)), slice(0, 2), slice(2, 4)
    with ThreadPoolExecutor(1) as thread:
        for _ in range(2):
            np.testing.assert_array_equal(kept[first], array[first])
            other = thread.submit(kept.__getitem__, second).result()
            np.testing.assert_array_equal(other, array[second])
    assert reads == [first, second]
    np.testing.assert_array_equal(kept[second], array[second])
    np.testing.assert_array_equal(kept[np.array([3, 0])], array[[3, 0]])
    assert reads[2:3] == [second]


def test_row_blocks_cover_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "BLOCK_CELLS", 20)
    lazy = LazyMatrix((7, 6), lambda rows: np.zeros((7, 6))[rows])
    assert [(rows.start, rows.stop) for rows in row_blocks(lazy)] == [(0, 3), (3, 6), (6, 7)]
    assert [(rows.start, rows.stop) for rows in row_blocks(np.zeros((7, 6)))] == [(0, 7)]


def test_refuse_whole_names_the_memory_of_the_map() -> None:
    refuse_whole(8192, 8192, "Rollout")
    with pytest.raises(UsageError, match=r"32,768 x 32,768 weights take 4\.0 GiB .* 8,192 tokens"):
        refuse_whole(32768, 32768, "Rollout")


def test_checked_rows_with_nan_are_refused_when_they_are_read() -> None:
    array, visible = np.zeros((4, 2)), np.ones((4, 2), np.bool_)
    array[3, 1] = np.nan
    rows = checked_rows("L0H0.pattern", LazyMatrix((4, 2), lambda rows: array[rows]), visible)
    assert not rows[slice(0, 3)].any()
    with pytest.raises(InputError, match=r"L0H0\.pattern contains NaN or infinity"):
        rows[slice(3, 4)]


def direct(trace: AttentionTrace, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, pattern and z in double precision, by the formula, head by head."""
    group = len(trace.q) // len(trace.k)
    scores, patterns, z = [], [], []
    for head, q in enumerate(trace.q.astype(np.float64)):
        k, v = (x[head // group].astype(np.float64) for x in (trace.k, trace.v))
        s = q @ k.T * trace.scale
        s = s if trace.softcap is None else trace.softcap * np.tanh(s / trace.softcap)
        s = s + bias[head % len(bias)]
        largest = s.max(axis=1, keepdims=True)
        e = np.exp(s - np.where(np.isfinite(largest), largest, 0))
        pattern = e / np.maximum(e.sum(axis=1, keepdims=True), 1e-300)
        scores, patterns, z = [*scores, s], [*patterns, pattern], [*z, pattern @ v]
    return np.stack(scores), np.stack(patterns), np.stack(z)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 23),
    heads=st.sampled_from([(1, 1), (4, 4), (6, 2), (3, 1)]),
    stack=st.sampled_from(["plain", "causal", "window", "local", "alibi", "buckets", "offsets"]),
    softcap=st.sampled_from([None, 1.5]),
    block_cells=st.integers(1, 90),
)
@settings(max_examples=150, deadline=None)
def test_trace_in_blocks_equals_the_formula_in_double_precision(
    seed: int, n: int, heads: tuple[int, int], stack: str, softcap: float | None, block_cells: int
) -> None:
    """Random shapes and every kind of bias, with blocks that do not divide the text."""
    rng = np.random.default_rng(seed)
    n_heads, n_kv_heads = heads
    table = rng.normal(size=(7, n_heads)).astype(np.float32)
    table[3] = -np.inf  # of the offset 0
    kinds = {
        "plain": Stack([]).bias(n, causal=False),
        "causal": Stack([], causal=True).bias(n, causal=False),
        "window": Stack([], causal=True).bias(n, 3, causal=False),
        "local": Stack([]).bias(n, 2, causal=True),
        "alibi": Stack([], causal=True, alibi=n_heads).bias(n, causal=False),
        "buckets": Stack([], buckets=Buckets(table[[0, 1, 2, 4]], 9)).bias(n, causal=False),
        "offsets": Stack([], offsets=table).bias(n, causal=False),
    }
    bias = kinds[stack]
    q, k, v = (
        rng.normal(size=(count, n, 5)).astype(np.float32)
        for count in (n_heads, n_kv_heads, n_kv_heads)
    )
    trace = AttentionTrace(q=q, k=k, v=v, scale=0.4, softcap=softcap, bias=bias, keeps_maps=False)
    every = slice(None)
    values = np.zeros((1, n, n)) if bias is None else bias.block(every, every).astype(np.float64)
    scores, pattern, z = direct(trace, values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_attention, "BLOCK_CELLS", block_cells)
        np.testing.assert_allclose(trace.z, z, atol=1e-5)
        for head in range(n_heads):
            one = trace.of_head(head)
            for first in range(0, n, one.block_rows):
                rows = slice(first, first + one.block_rows)
                np.testing.assert_allclose(one.scores(rows=rows)[0], scores[head, rows], atol=1e-5)
                np.testing.assert_allclose(
                    one.pattern(rows=rows)[0], pattern[head, rows], atol=1e-6
                )
                visible = np.isfinite(scores[head, rows])
                np.testing.assert_array_equal(one.mask(rows=rows)[0], visible)
            some = rng.permutation(n)[: n // 2 + 1]  # in any order
            np.testing.assert_allclose(one.scores(rows=some)[0], scores[head, some], atol=1e-5)
            np.testing.assert_allclose(one.pattern(rows=some)[0], pattern[head, some], atol=1e-6)
            np.testing.assert_array_equal(one.mask(rows=some)[0], np.isfinite(scores[head, some]))


@given(
    seed=st.integers(0, 2**32 - 1),
    n_query=st.integers(1, 19),
    n_key=st.integers(1, 19),
    terms=st.sampled_from(["none", "keys", "queries", "both"]),
    n_buckets=st.sampled_from([None, 6]),
    block_cells=st.integers(1, 60),
)
@settings(max_examples=80, deadline=None)
def test_disentangled_and_cross_attention_in_blocks_equal_the_formula(
    seed: int, n_query: int, n_key: int, terms: str, n_buckets: int | None, block_cells: int
) -> None:
    """Terms of relative positions, or none between two texts of different lengths."""
    rng = np.random.default_rng(seed)
    n_heads, d_head, d_model, span = 3, 4, 5, 6
    n_query, n_key = (n_query, n_key) if terms == "none" else (n_query, n_query)
    q, k, v = (
        rng.normal(size=(n_heads, n, d_head)).astype(np.float32) for n in (n_query, n_key, n_key)
    )
    table = rng.normal(size=(2 * span, d_model)).astype(np.float32)
    to_keys, to_queries = (
        Linear(rng.normal(size=(n_heads * d_head, d_model)).astype(np.float32), None)
        for _ in range(2)
    )
    relative = Disentangled(
        table,
        to_keys if terms in ("keys", "both") else None,
        to_queries if terms in ("queries", "both") else None,
        n_buckets,
        max_distance=12,
    )
    products = np.zeros((n_heads, n_query, n_key))
    for head, i, j in np.ndindex(products.shape):
        row = table[relative.rows(np.array([i]), np.array([j]))[0, 0]].astype(np.float64)
        columns = slice(head * d_head, (head + 1) * d_head)
        if relative.k is not None:
            products[head, i, j] += q[head, i] @ (row @ to_keys.matrix()[:, columns])
        if relative.q is not None:
            products[head, i, j] += k[head, j] @ (row @ to_queries.matrix()[:, columns])
    trace = AttentionTrace(
        q=q,
        k=k,
        v=v,
        scale=0.4,
        relative=None if terms == "none" else relative.of(q, k),
        keeps_maps=False,
    )
    scores, pattern, z = direct(trace, 0.4 * products)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_attention, "BLOCK_CELLS", block_cells)
        np.testing.assert_allclose(trace.z, z, atol=1e-5)
        some = rng.permutation(n_query)[: n_query // 2 + 1]
        for head in range(n_heads):
            one = trace.of_head(head)
            for rows in (*parts(n_query, 3), some):
                np.testing.assert_allclose(one.scores(rows=rows)[0], scores[head, rows], atol=2e-5)
                np.testing.assert_allclose(
                    one.pattern(rows=rows)[0], pattern[head, rows], atol=2e-6
                )
                assert one.mask(rows=rows).shape == (1, len(scores[head, rows]), n_key)


@pytest.mark.parametrize("weighting", ["softmax", "hard"])
def test_explain_in_blocks_equals_explain_of_whole_maps(
    tiny_glove: Path, request: pytest.FixtureRequest, weighting: str
) -> None:
    def explained() -> tuple[tuple[int, int, int], Explanation]:
        run = load(tiny_glove).read(TEXT, weighting=weighting, causal=True)
        places, keys = [1, 2, 3, 7, 12], range(len(run.keys))
        link = largest_weight(run.layers, {0: [0, 1, 2, 3]}, places, keys)
        x = explain_layer(
            run.model,
            link.layer,
            "self",
            head=link.head,
            query=link.query,
            key=link.key,
            weighting=weighting,
        )
        return (link.head, link.query, link.key), x

    expected_link, expected = explained()
    request.getfixturevalue("in_blocks")
    link, result = explained()
    assert link == expected_link and result.masked == expected.masked
    np.testing.assert_allclose(result.pattern, expected.pattern, atol=CLOSE)
    np.testing.assert_allclose(result.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in READINGS if name != "rollout"])
def test_comparison_in_blocks_equals_comparison_of_whole_maps(
    tiny_glove: Path, request: pytest.FixtureRequest, name: str
) -> None:
    def comparison() -> Comparison:
        texts = TEXT, TEXT.replace("bank", "broad bank").replace("she", "he")
        reading, model = Reading(**READINGS[name]), load(tiny_glove)
        a, b = (head_maps(model, text, reading, layers=["0"], heads=["1"]) for text in texts)
        return compare(a, b)

    def parsed(c: Comparison) -> dict[str, Any]:
        document: dict[str, Any] = json.loads("".join(compare_pieces([c])))["comparisons"][0]
        # Of equal cells, rounding decides.
        document["moved"] = [m for m in document["moved"] if abs(m["change"]) > CLOSE]
        return document

    expected = comparison()
    document, picture = parsed(expected), drawn(expected)
    changes = [(m.row, m.column) for m in largest_changes(expected, 4)]
    request.getfixturevalue("in_blocks")
    result = comparison()
    assert isinstance(result.difference, LazyMatrix)
    assert_same(numbers(parsed(result)), numbers(document))
    assert [(m.row, m.column) for m in largest_changes(result, 4)] == changes
    assert drawn(result) == picture


def drawn(c: Comparison) -> str:
    [draw] = pictures([c])
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(draw(Theme()))
    return capture.get()


@pytest.mark.parametrize("shuffles", [0, 3])
@pytest.mark.parametrize("reading", [{}, {"causal": True}, {"source": "the mango in a bank"}])
def test_head_statistics_in_blocks_equal_those_of_whole_maps(
    tiny_glove: Path, request: pytest.FixtureRequest, reading: dict[str, Any], shuffles: int
) -> None:
    orders: list[str] = []

    def statistics() -> list[HeadStatistics]:
        reader = OrderedReader(load(tiny_glove), Reading(**reading), (), ())

        def read_maps(text: str, order: OrderName) -> Iterator[HeadMaps]:
            orders.append(order)
            return reader(text, order)

        [result] = study(iter([TEXT]), read_maps, shuffles=shuffles, seed=1)
        return head_statistics(result)

    expected = statistics()
    request.getfixturevalue("in_blocks")
    orders.clear()
    for result, other in zip(statistics(), expected, strict=True):
        assert (result.name, result.labels) == (other.name, other.labels)
        figures, expected_figures = (
            [np.nan if (x := head.figure(name)) is None else x for name in FIGURES]
            for head in (result, other)
        )
        np.testing.assert_allclose(figures, expected_figures, rtol=1e-4, atol=1e-6)
    assert orders.count("as written") == 1 + shuffles  # which are not kept


def test_whole_map_of_merged_words_is_read_from_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice without ends is one of all rows."""
    tokens = [Token(i, c, c, i, i, i + 1) for i, c in enumerate("abc d")]
    array = np.arange(25, dtype=np.float32).reshape(5, 5)
    info = ModelInfo("made", "made", 1, 1, 4, 4, 10, "made in a test")
    maps = HeadMaps(info, "softmax", False, "abc d", None, tokens, tokens, ())
    monkeypatch.setattr(matrix, "BLOCK_CELLS", 10)
    lazy = LazyMatrix((5, 5), lambda rows: array[rows])
    results = [
        merge_words(replace(maps, maps=[HeadMap("L0H0", "self", 0, 0, pattern)])).maps[0]
        for pattern in (array, lazy)
    ]
    np.testing.assert_allclose(results[1].pattern[:], results[0].pattern)
    last_first = np.array([1, 0])
    np.testing.assert_allclose(results[1].pattern[last_first], results[0].pattern[last_first])


def test_score_that_overflows_in_a_long_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """1e20 x -1e20 becomes -inf, which looks masked; no row of the map needs to be read."""
    monkeypatch.setattr(core_attention, "KEPT", 0)
    for x, is_refused in ([[1, 1e20], [2, -1e20]], True), ([[1, 1e18], [2, -1e18]], False):
        q = np.array(x, np.float32).T[:, :, None]
        layer = layer_of(0, trace_of(q, q, q, bias=np.zeros((1, 2, 2), np.float32)))
        check = FiniteCheck(Weights({}), {"encoder": [Block()]})
        if is_refused:
            with pytest.raises(CheckpointError, match="L0H1 contains NaN or infinity"):
                check.check_heads(layer)
        else:
            check.check_heads(layer)
