"""One token's row or column of some maps, and the strongest weights in it, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_heads import Words, head_maps

from qkv_cli.analysis.focus import focus, strongest_weights
from qkv_cli.maps.head_maps import HeadMaps

NAN = float("nan")


def example_maps() -> HeadMaps:
    """[CLS], a word and [SEP] in two heads of known weights; each head has a mask of its own."""
    with np.errstate(divide="ignore"):  # a weight of zero is masked: log 0 is -inf
        scores = [
            np.log([[0.25, 0.75, 0], [0.5, 0, 0.5], [1, 0, 0]]),
            np.log([[0.75, 0.25, 0], [0, 1, 0], [0.25, 0.25, 0.5]]),
        ]
    return head_maps(Words().encode("a"), scores)


def test_focus_on_query_returns_row_with_nan_at_masked_keys() -> None:
    row = focus(example_maps(), "query", 1)
    np.testing.assert_allclose(row.weights, [[0.5, NAN, 0.5], [NAN, 1, NAN]])
    assert row.token.token == "a"


def test_focus_on_key_returns_column_with_nan_at_masked_queries() -> None:
    column = focus(example_maps(), "key", 1)
    np.testing.assert_allclose(column.weights, [[0.75, NAN, NAN], [0.25, 1, 0.25]])
    assert column.token.token == "a"


def test_focus_mean_averages_over_heads_that_see_key() -> None:
    np.testing.assert_allclose(focus(example_maps(), "query", 0).mean, [0.5, 0.5, NAN])
    np.testing.assert_allclose(focus(example_maps(), "query", 1).mean, [0.5, 1, 0.5])
    np.testing.assert_allclose(focus(example_maps(), "key", 1).mean, [0.5, 1, 0.25])


def test_focus_of_cross_attention_lists_tokens_of_other_text() -> None:
    keys = Words().encode("b")
    maps = replace(example_maps(), keys=keys, source="b")
    assert focus(maps, "query", 1).token.token == "a"
    assert [t.token for t in focus(maps, "query", 1).others] == ["[CLS]", "b", "[SEP]"]
    assert focus(maps, "key", 1).token.token == "b"
    assert [t.token for t in focus(maps, "key", 1).others] == ["[CLS]", "a", "[SEP]"]


def test_focus_with_shown_scores_returns_scores() -> None:
    row = focus(replace(example_maps(), shown="scores"), "query", 1)
    np.testing.assert_allclose(row.weights, [np.log([0.5, NAN, 0.5]), [NAN, 0, NAN]])


@pytest.mark.parametrize(
    ("n", "places", "n_rest", "sum_of_rest"),
    [
        (0, [], 5, 0.2 - 0.5 + 0.2 + 0.1),
        (1, [1], 4, 0.2 + 0.2 + 0.1),
        (2, [1, 0], 3, 0.2 + 0.1),  # the first of equal weights
        (4, [1, 0, 4, 5], 1, 0),
        (9, [1, 0, 4, 5], 1, 0),  # a weight of 0 is never listed
    ],
)
def test_strongest_weights_lists_largest_magnitudes_and_sums_rest(
    n: int, places: list[int], n_rest: int, sum_of_rest: float
) -> None:
    line = strongest_weights(np.array([0.2, -0.5, NAN, 0.0, 0.2, 0.1]), n)
    assert (line.places, line.n_rest) == (places, n_rest)
    assert line.rest == pytest.approx(sum_of_rest)
