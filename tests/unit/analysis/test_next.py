"""Probabilities, ranks and divergence, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qkv_cli.analysis.next import kl_divergence, log_probabilities, odds


def test_odds_of_one_run_gives_probability_rank_and_rest() -> None:
    scores = np.log(np.array([[1.0, 4.0, 2.0, 1.0]], np.float32))  # 1/8, 1/2, 1/4, 1/8
    result = odds(scores, 2)
    assert (result.ids, result.n_tokens, result.divergence) == ([1, 2], 4, None)
    np.testing.assert_allclose(result.probability, [[0.5, 0.25]], rtol=1e-6)
    assert result.rank.tolist() == [[1, 2]]
    np.testing.assert_allclose(result.rest, [0.25], rtol=1e-6)


def test_odds_of_two_runs_lists_likeliest_tokens_of_both_and_divergence() -> None:
    scores = np.log(np.array([[8.0, 4.0, 2.0, 2.0], [2.0, 2.0, 4.0, 8.0]], np.float32))
    result = odds(scores, 2)
    assert result.ids == [0, 1, 3, 2]
    assert result.rank.tolist() == [
        [1, 2, 4, 3],
        [3, 4, 1, 2],
    ]  # of equal probabilities, the lower id first
    np.testing.assert_allclose(result.rest, 0, atol=1e-12)
    # 1/2 log2(4) + 1/4 log2(2) - 1/8 log2(2) - 1/8 log2(4)
    assert result.divergence == pytest.approx(1 + 0.25 - 0.125 - 0.25, rel=1e-6)


def test_log_probabilities_of_large_scores_are_finite() -> None:
    logs = log_probabilities(np.array([[10_000.0, 9_000.0], [9_000.0, 10_000.0]]))
    assert np.isfinite(logs).all()
    np.testing.assert_allclose(np.exp(logs), [[1, 0], [0, 1]])
    assert kl_divergence(logs[0], logs[1]) == pytest.approx(1000 / np.log(2))
    assert kl_divergence(logs[0], logs[0]) == 0
