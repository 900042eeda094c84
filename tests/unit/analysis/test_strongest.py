"""The strongest link of some heads, between some words, by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from made_traces import layer_of, trace_of, with_maps

from qkv_cli.analysis.explain import largest_weight
from qkv_cli.core.block import LayerTrace

# Two heads on three words; each layer puts its own weights and scores in.
TRACE = trace_of(*np.zeros((3, 2, 3, 1)))


def layer(index: int, pattern: list, scores: list | None = None, *, crosses=False) -> LayerTrace:
    """A layer of two heads with these weights, [n_heads, n_query, n_key]."""
    weights = np.array(pattern, float)
    amounts = weights if scores is None else np.array(scores, float)
    trace = with_maps(TRACE, amounts, weights)
    return layer_of(index, None, trace) if crosses else layer_of(index, trace)


FIRST = [
    [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.9, 0.05, 0.05]],
    [[0.2, 0.2, 0.6], [0.0, 0.2, 0.8], [0.5, 0.25, 0.25]],
]
SECOND = [
    [[0.2, 0.4, 0.4], [0.05, 0.95, 0.0], [0.1, 0.2, 0.7]],
    [[0.6, 0.2, 0.2], [0.4, 0.3, 0.3], [0.34, 0.33, 0.33]],
]
ALL = [0, 1, 2]


def best(heads, queries=ALL, keys=ALL) -> tuple[int, int, int, int]:
    link = largest_weight([layer(0, FIRST), layer(1, SECOND)], heads, queries, keys)
    return link.layer.index, link.head, link.query, link.key


@pytest.mark.parametrize(
    ("heads", "queries", "keys", "expected"),
    [
        ({0: [0, 1], 1: [0, 1]}, ALL, ALL, (1, 0, 1, 1)),  # .95
        ({0: [0, 1]}, ALL, ALL, (0, 0, 2, 0)),  # .9
        ({0: [1], 1: [1]}, ALL, ALL, (0, 1, 1, 2)),  # .8
        ({0: [0], 1: [0]}, [0, 2], [1, 2], (0, 0, 0, 2)),  # .7, and .7 in the later layer
        ({0: [0, 1]}, [1], [2, 0], (0, 1, 1, 2)),  # .8
    ],
)
def test_largest_weight_is_maximum_over_allowed_heads_queries_and_keys(
    heads, queries, keys, expected
) -> None:
    assert best(heads, queries, keys) == expected


def test_largest_weight_of_equal_weights_takes_highest_score_then_first() -> None:
    hard = [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0], [0, 1, 0]]]
    scores = [[[5, 1, 2], [3, 6, 4], [0, 0, 6]], [[1, 7, 2], [6, 3, 3], [5, 7, 5]]]
    link = largest_weight([layer(0, hard, scores)], {0: [0, 1]}, ALL, ALL)
    assert (link.head, link.query, link.key) == (1, 0, 1)  # 7; head 1, query 2 scores 7 as well
    link = largest_weight([layer(0, hard, scores)], {0: [0]}, ALL, ALL)
    assert (link.query, link.key) == (1, 1)  # 6; query 2 scores 6 as well
    link = largest_weight([layer(0, hard, scores)], {0: [0]}, [0], [1, 2])
    assert (link.query, link.key) == (0, 2)  # no weight at all: the score 2 is better than 1


def test_largest_weight_does_not_compute_later_layers() -> None:
    computed: list[int] = []

    def layers() -> Iterator[LayerTrace]:
        for index, pattern in enumerate((FIRST, SECOND, FIRST)):
            computed.append(index)
            yield layer(index, pattern)

    assert largest_weight(layers(), {1: [0]}, ALL, ALL).layer.index == 1
    assert computed == [0, 1]


def test_largest_weight_of_layer_with_cross_attention_uses_cross_pattern() -> None:
    link = largest_weight([layer(0, FIRST, crosses=True)], {0: [0]}, ALL, ALL)
    assert (link.query, link.key) == (2, 0)
