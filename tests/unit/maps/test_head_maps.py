"""Which heads are chosen, and what an average and a window keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_traces import layer_of, trace_of

from qkv_cli.core.attention import AttentionTrace
from qkv_cli.core.block import LayerTrace
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.selection import Selection, average, select, traced_head, window

N_LAYERS, N_HEADS = 3, 4


def chosen(layers: list[str], heads: list[str]) -> dict[int, list[int]]:
    selection = Selection.parse(layers, heads, n_layers=N_LAYERS, n_heads=N_HEADS)
    return {layer: list(which) for layer, which in selection.heads.items()}


@pytest.mark.parametrize(
    ("layers", "heads", "expected"),
    [
        ([], [], {2: [0, 1, 2, 3]}),
        (["0"], [], {0: [0, 1, 2, 3]}),
        ([], ["3"], {2: [3]}),
        ([], ["3", "0"], {2: [3, 0]}),
        (["-1", "0"], ["-1"], {2: [3], 0: [3]}),
        (["0:2"], ["1:3"], {0: [1, 2], 1: [1, 2]}),
        (["1:"], [":2"], {1: [0, 1], 2: [0, 1]}),
        (["all"], ["-2:"], {0: [2, 3], 1: [2, 3], 2: [2, 3]}),
        (["0"], ["1", "1", "0:3"], {0: [1, 0, 2]}),
        ([], ["L0H3"], {0: [3]}),
        ([], ["l1h-1", "L0H2", "L1H0"], {1: [3, 0], 0: [2]}),
        ([], ["L-1H*"], {2: [0, 1, 2, 3]}),
        ([], ["L0H3", "1"], {0: [3], 2: [1]}),
        (["1"], ["L0H3"], {1: [0, 1, 2, 3], 0: [3]}),
        (["0"], ["2", "L0H2", "L0H1"], {0: [2, 1]}),
    ],
)
def test_selection_parse_returns_requested_heads_by_layer(
    layers: list[str], heads: list[str], expected: dict[int, list[int]]
) -> None:
    got = chosen(layers, heads)
    assert got == expected
    assert list(got) == list(expected)


def test_selection_parse_keeps_order_of_heads_across_layers() -> None:
    asked = ["L0H1", "2:", "0", "L2H1", "L0H0"]
    selection = Selection.parse([], asked, n_layers=N_LAYERS, n_heads=N_HEADS)
    assert selection.places == [(0, 1), (2, 2), (2, 3), (2, 0), (2, 1), (0, 0)]


@pytest.mark.parametrize(
    ("layers", "heads", "said"),
    [
        (["3"], [], "Layer 3 does not exist: this model has layers 0 to 2."),
        (["-4"], [], "Layer -4 does not exist: this model has layers 0 to 2."),
        ([], ["4"], "Head 4 does not exist: this model has heads 0 to 3."),
        ([], ["2:2"], "Head range 2:2 is empty: this model has heads 0 to 3."),
        ([], ["9:"], "Head range 9: is empty: this model has heads 0 to 3."),
        ([], ["one"], "'one' is not a head; write 3, -1, 0:4 or all: this model has heads 0 to 3."),
        (
            ["1.5"],
            [],
            "'1.5' is not a layer; write 3, -1, 0:4 or all: this model has layers 0 to 2.",
        ),
        ([], ["L0"], "'L0' is not a head name; write L0H3, or L0H* for all heads of layer 0."),
        (
            [],
            ["L0H3x"],
            "'L0H3x' is not a head name; write L0H3, or L0H* for all heads of layer 0.",
        ),
        ([], ["L7H0"], "Layer 7 does not exist: this model has layers 0 to 2."),
        ([], ["L0H7"], "Head 7 does not exist: this model has heads 0 to 3."),
        ([], [""], "'' is not a head; write 3, -1, 0:4 or all: this model has heads 0 to 3."),
    ],
)
def test_selection_parse_of_missing_or_invalid_head_lists_valid_ones(
    layers: list[str], heads: list[str], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        chosen(layers, heads)
    assert str(refused.value) == said
    assert refused.value.exit_code == 2


def test_selection_parse_with_one_layer_says_only_layer_0() -> None:
    with pytest.raises(
        UsageError, match=r"^Layer 1 does not exist: this model has only layer 0\.$"
    ):
        Selection.parse(["1"], [], n_layers=1, n_heads=8)


@given(st.lists(st.integers(-N_HEADS, N_HEADS - 1), min_size=1))
def test_selection_parse_of_repeated_head_keeps_first(asked: list[int]) -> None:
    expected = list(dict.fromkeys(i % N_HEADS for i in asked))
    assert chosen(["0"], [str(i) for i in asked]) == {0: expected}


@given(st.integers(-9, 9), st.integers(-9, 9))
def test_selection_parse_of_range_equals_python_slice(start: int, stop: int) -> None:
    expected = list(range(N_HEADS))[start:stop]
    if expected:
        assert chosen(["0"], [f"{start}:{stop}"]) == {0: expected}
    else:
        with pytest.raises(UsageError):
            chosen(["0"], [f"{start}:{stop}"])


def trace(seed: int, n_query: int = 5, n_key: int = 5) -> AttentionTrace:
    """Four query heads that share two key and value heads."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(N_HEADS, n_query, 3))
    k, v = rng.normal(size=(2, 2, n_key, 3))
    return trace_of(q, k, v)


def layers(pulled: list[int], *, cross: bool = False) -> Iterator[LayerTrace]:
    for i in range(N_LAYERS):
        pulled.append(i)
        yield layer_of(i, None, trace(i)) if cross else layer_of(i, trace(i))


def test_select_takes_heads_from_traces_and_stops_after_last_layer() -> None:
    pulled: list[int] = []
    maps = select(layers(pulled), Selection([(1, 3), (0, 2), (1, 0)]))
    assert pulled == [0, 1]
    assert [m.name for m in maps] == ["L1H3", "L0H2", "L1H0"]
    third, whole = maps[0], trace(1)
    assert (third.block, third.layer, third.head) == ("self", 1, 3)
    np.testing.assert_array_equal(third.pattern, whole.pattern()[3])
    np.testing.assert_array_equal(third.scores, whole.scores()[3])
    np.testing.assert_array_equal(third.q, whole.q[3])
    np.testing.assert_array_equal(third.z, whole.z[3])
    np.testing.assert_array_equal(third.k, whole.k[1])  # heads 2 and 3 share the second
    np.testing.assert_array_equal(third.v, whole.v[1])


def test_select_prefers_cross_attention_of_layer() -> None:
    [result] = select(layers([], cross=True), Selection([(0, 1)]))
    assert result.block == "cross"
    np.testing.assert_array_equal(result.pattern, trace(0).pattern()[1])


def test_average_is_mean_of_selected_heads_of_each_layer() -> None:
    means = average(select(layers([]), Selection([(0, 0), (0, 3), (2, 1)])))
    assert [(m.name, m.layer, m.head) for m in means] == [
        ("L0 mean of H0 H3", 0, None),
        ("L2 mean of H1", 2, None),
    ]
    first = trace(0).pattern()
    np.testing.assert_allclose(means[0].pattern, (first[0] + first[3]) / 2)
    np.testing.assert_allclose(means[1].pattern, trace(2).pattern()[1])
    assert means[0].scores is means[0].q is means[0].z is None


def test_average_mask_is_union_of_masks_of_heads() -> None:
    """Scores are averaged over the heads that see the key; -inf is left where none does."""
    masks = [[[True, False], [True, False]], [[True, True], [True, False]]]
    scores = [np.where(mask, 2.0 * head + 1, -np.inf) for head, mask in enumerate(masks)]
    pattern = np.eye(2)
    maps = [
        HeadMap(f"L0H{h}", "self", 0, h, pattern, scores[h], mask=np.array(masks[h]))
        for h in (0, 1)
    ]
    [mean] = average(maps, "scores")
    assert mean.mask.tolist() == [[True, True], [True, False]]
    assert mean.scores.tolist() == [[2, 3], [2, -np.inf]]
    assert maps[0].part([1], [0, 1]).mask.tolist() == [[True, False]]


def test_head_map_without_mask_sees_every_key() -> None:
    assert HeadMap("L0H0", "self", 0, 0, np.zeros((2, 3))).mask.tolist() == [[True] * 3] * 2


def test_traced_head_has_mask_of_that_head() -> None:
    q = np.ones((2, 2, 1))
    mask = np.array([[[True, False], [True, True]], [[True, True], [True, True]]])
    bias = np.where(mask, 0.0, -np.inf)
    layer = layer_of(0, trace_of(q, q, q, bias=bias, visible=mask))
    one, other = (traced_head(layer, head) for head in (0, 1))
    assert one.mask.tolist() == mask[0].tolist() and other.mask.all()


def head_maps(source: str | None = None) -> HeadMaps:
    n_key = 5 if source is None else 4
    t = trace(0, 5, n_key)
    tokens = [Token(i, c, c, i, i, i + 1) for i, c in enumerate("abcde")]
    pattern, scores = t.pattern()[0], t.scores()[0]
    m = HeadMap("L0H0", "self", 0, 0, pattern, scores, t.q[0], t.k[0], t.v[0], t.z[0])
    info = ModelInfo("tiny", "word-vectors", 1, 1, 3, 3, 6, "identity")
    return HeadMaps(info, "softmax", False, "abcde", source, tokens, tokens[:n_key], [m])


def test_window_of_one_text_cuts_rows_and_columns() -> None:
    whole = head_maps()
    part = window(whole, 1, 3)
    [m], [w] = part.maps, whole.maps
    assert [t.text for t in part.queries] == [t.text for t in part.keys] == ["b", "c"]
    assert [t.i for t in part.queries] == [1, 2]
    np.testing.assert_array_equal(m.pattern, w.pattern[1:3, 1:3])
    np.testing.assert_array_equal(m.scores, w.scores[1:3, 1:3])
    for name in ("q", "k", "v", "z"):
        np.testing.assert_array_equal(getattr(m, name), getattr(w, name)[1:3])


def test_window_of_cross_attention_cuts_rows_only() -> None:
    whole = head_maps(source="abcd")
    part = window(whole, 1, 3)
    [m], [w] = part.maps, whole.maps
    assert [t.text for t in part.keys] == list("abcd")
    np.testing.assert_array_equal(m.pattern, w.pattern[1:3])
    np.testing.assert_array_equal(m.k, w.k)
    np.testing.assert_array_equal(m.z, w.z[1:3])


def test_window_of_average_has_pattern_only() -> None:
    maps = head_maps()
    part = window(replace(maps, maps=average(maps.maps)), 0, 2)
    assert part.maps[0].pattern.shape == (2, 2)
    assert part.maps[0].scores is part.maps[0].k is None


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (2, 2), (3, 1), (-1, 2)])
def test_window_outside_text_raises_usage_error(start: int, stop: int) -> None:
    with pytest.raises(
        UsageError,
        match=rf"^Window {start}:{stop} is empty or out of range: the text has tokens 0 to 4",
    ):
        window(head_maps(), start, stop)
