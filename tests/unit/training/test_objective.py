"""The objective's scores, loss and gradients, against the formula, differences and torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qkv_cli.core.arrays import Array
from qkv_cli.training.heads import HeadShape, Parameters, centre_and_scale, initial_parameters
from qkv_cli.training.objective import forward, loss_and_gradients

GOLDEN = Path(__file__).parents[2] / "golden" / "training" / "objective.npz"
SHAPE = HeadShape(d_model=6, n_heads=3, d_head=4, clip=2)
N_TYPES = 9


def some_parameters(rng: np.random.Generator) -> Parameters:
    """Nothing at zero; a clip shorter than the sentences; float64 for differences."""
    p = {name: rng.normal(0, 0.6, a.shape) for name, a in initial_parameters(SHAPE, 0).items()}
    p["offset"][SHAPE.clip] = -np.inf
    return p


def some_case(seed: int, n: int = 5) -> tuple[Parameters, Array, np.ndarray]:
    rng = np.random.default_rng(seed)
    table = centre_and_scale(
        rng.normal(0.3, 1, (N_TYPES, SHAPE.d_model)), np.full(SHAPE.d_model, 0.3)
    )
    candidates = rng.integers(0, N_TYPES, (2, 4, n))
    return some_parameters(rng), table.astype(np.float64), candidates


def score_by_hand(p: Parameters, table: Array, words: np.ndarray, i: int, candidate: int) -> float:
    """One candidate at one place: the article's formulas, one head and one key at a time."""
    x, out = table[candidate], p["c"].copy()
    for h in range(SHAPE.n_heads):
        part = slice(h * SHAPE.d_head, (h + 1) * SHAPE.d_head)
        q = x @ p["W_Q"][:, part] + p["b_Q"][part]
        other_places = [j for j in range(len(words)) if j != i]
        scores, values = [], []
        for j in other_places:
            k = table[words[j]] @ p["W_K"][:, part] + p["b_K"][part]
            values.append(table[words[j]] @ p["W_V"][:, part] + p["b_V"][part])
            row = min(max(j - i, -SHAPE.clip), SHAPE.clip) + SHAPE.clip
            scores.append(q @ k / SHAPE.d_head**0.5 + p["offset"][row, h])
        weights = np.exp(scores) / np.exp(scores).sum()
        out += (weights @ np.array(values)) @ p["W_O"][part]
    return float(out @ x / SHAPE.d_model**0.5)


def test_forward_scores_match_formula_by_hand() -> None:
    p, table, candidates = some_case(0)
    scores = forward(p, table, candidates).scores
    for b, c, i in np.ndindex(scores.shape):
        by_hand = score_by_hand(p, table, candidates[b, 0], i, candidates[b, c, i])
        assert scores[b, c, i] == pytest.approx(by_hand, abs=1e-9)


def test_loss_equals_cross_entropy_of_true_words() -> None:
    p, table, candidates = some_case(1)
    scores = forward(p, table, candidates).scores
    probability = np.exp(scores)[:, 0] / np.exp(scores).sum(axis=1)
    loss, _ = loss_and_gradients(p, table, candidates)
    assert loss == pytest.approx(-np.log(probability).sum(), abs=1e-9)


@pytest.mark.parametrize("name", ["W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "c", "offset"])
def test_gradients_match_finite_differences(name: str) -> None:
    p, table, candidates = some_case(2)
    _, gradients = loss_and_gradients(p, table, candidates)
    step = 1e-5
    for index in np.ndindex(p[name].shape):
        if np.isinf(p[name][index]):
            continue
        losses = []
        for sign in (1, -1):
            moved = {**p, name: p[name].copy()}
            moved[name][index] += sign * step
            losses.append(loss_and_gradients(moved, table, candidates)[0])
        slope = (losses[0] - losses[1]) / (2 * step)
        assert gradients[name][index] == pytest.approx(slope, abs=2e-6)


def test_scores_loss_and_gradients_match_torch() -> None:
    golden = dict(np.load(GOLDEN))
    p = {name[2:]: a for name, a in golden.items() if name.startswith("p.")}
    scores = forward(p, golden["table"], golden["candidates"]).scores
    assert np.abs(scores - golden["scores"]).max() < 1e-5
    loss, gradients = loss_and_gradients(p, golden["table"], golden["candidates"])
    assert loss == pytest.approx(float(golden["loss"]), rel=1e-5)
    for name, gradient in gradients.items():
        expected = golden[f"g.{name}"]
        assert np.abs(gradient - expected).max() < 1e-5 * (1 + np.abs(expected).max()), name


def test_forward_score_does_not_depend_on_true_word_at_that_position() -> None:
    p, table, candidates = some_case(3)
    before = forward(p, table, candidates).scores
    changed = candidates.copy()
    changed[0, 0, 2] = (candidates[0, 0, 2] + 1) % N_TYPES  # another word at place 2
    after = forward(p, table, changed).scores
    assert np.array_equal(before[0, 1:, 2], after[0, 1:, 2])  # the word drawn for place 2
    assert not np.allclose(before[0, 1:, 1], after[0, 1:, 1])
