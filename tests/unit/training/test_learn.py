"""Training runs: they learn, are reproducible, and can be resumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError
from qkv_cli.training.corpus import Corpus, build_corpus, make_batches
from qkv_cli.training.heads import HeadShape, as_tensors, centre_and_scale
from qkv_cli.training.learn import (
    BETA_1,
    BETA_2,
    DECAY,
    EPS,
    Adam,
    State,
    TrainingPlan,
    initial_state,
    learn,
)
from qkv_cli.training.state import read_state, shape_of, state_tensors

PLAN = TrainingPlan(
    HeadShape(d_model=8, n_heads=2, d_head=4, clip=3), epochs=3, batch=60, evaluate_every=7
)


def a_corpus() -> tuple[Corpus, Array]:
    """Sentences in which a word 2 i is followed, two places on, by its partner 2 i + 1."""
    rng = np.random.default_rng(3)
    lines = []
    for _ in range(300):
        i, filler = 2 * rng.integers(0, 10), rng.integers(20, 40, 3)
        lines.append(f"{filler[0]} {i} {filler[1]} {i + 1} {filler[2]}")
    corpus = build_corpus(lines, lambda ls: [[int(w) for w in line.split()] for line in ls], 99)
    rows = rng.normal(0, 1, (len(corpus.types), 8))
    return corpus, centre_and_scale(rows, rows.mean(axis=0))


def the_end(plan: TrainingPlan, state: State | None = None, steps: int | None = None) -> State:
    corpus, table = a_corpus()
    state = state or initial_state(plan)
    for count, step in enumerate(learn(corpus, table, plan, state), 1):
        state = step.state
        if count == steps:
            break
    return state


def test_learn_on_paired_words_reaches_accuracy_above_chance() -> None:
    state = the_end(replace(PLAN, epochs=30, rate=1e-2))
    # Partners (2 of 5 words) can be known; a filler can only be guessed among fillers.
    assert state.best_accuracy > 0.45


def test_learn_with_same_seed_gives_same_parameters() -> None:
    first, repeated, other_seed = (the_end(p) for p in (PLAN, PLAN, replace(PLAN, seed=1)))
    for name, array in first.parameters.items():
        assert np.array_equal(array, repeated.parameters[name]), name
    assert not np.array_equal(first.parameters["W_Q"], other_seed.parameters["W_Q"])


def test_learn_from_saved_state_equals_uninterrupted_run() -> None:
    uninterrupted, part = the_end(PLAN), the_end(PLAN, steps=11)
    saved, seed = read_state(state_tensors(replace(part, best=part.parameters), seed=5))
    assert seed == 5 and saved.step == 11
    gone_on = the_end(PLAN, saved)
    assert gone_on.step == uninterrupted.step
    for name, array in uninterrupted.parameters.items():
        assert np.array_equal(array, gone_on.parameters[name]), name


def test_learn_after_last_epoch_yields_no_steps() -> None:
    state = the_end(PLAN)
    corpus, table = a_corpus()
    assert list(learn(corpus, table, PLAN, state)) == []


def test_learn_keeps_frozen_parameters_and_mask_of_offset_0() -> None:
    state = the_end(replace(PLAN, frozen=frozenset({"W_K", "offset"})))
    before = initial_state(PLAN).parameters
    for name, array in state.parameters.items():
        assert np.array_equal(array, before[name]) == (name in ("W_K", "offset")), name
    learned = the_end(PLAN).parameters["offset"]
    assert np.isneginf(learned[PLAN.shape.clip]).all()
    assert np.isfinite(np.delete(learned, PLAN.shape.clip, axis=0)).all()


def test_read_state_with_missing_tensor_raises_checkpoint_error() -> None:
    tensors = state_tensors(
        replace(initial_state(PLAN), best=initial_state(PLAN).parameters), seed=0
    )
    del tensors["adam.m.W_Q"]
    with pytest.raises(CheckpointError, match="has no"):
        read_state(tensors)


def test_shape_of_parameters_returns_shape_of_plan() -> None:
    assert shape_of(initial_state(PLAN).parameters) == PLAN.shape


def test_adam_update_matches_paper() -> None:
    """Algorithm 2 of arXiv 1711.05101 with its schedule at 1, one number at a time."""
    gradients, rate, w, b = [0.3, -1.2, 0.7], 0.01, 0.5, -0.25
    p = {"W_Q": np.array([w]), "b_Q": np.array([b])}
    adam, m, v = Adam.start(p), 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        p, adam = adam.update(p, {"W_Q": np.array([g]), "b_Q": np.array([g])}, rate)
        m, v = BETA_1 * m + (1 - BETA_1) * g, BETA_2 * v + (1 - BETA_2) * g * g
        step = rate * (m / (1 - BETA_1**t)) / ((v / (1 - BETA_2**t)) ** 0.5 + EPS)
        w, b = w - step - rate * DECAY * w, b - step
        assert p["W_Q"][0] == pytest.approx(w, rel=1e-9)
        assert p["b_Q"][0] == pytest.approx(b, rel=1e-9)


def test_as_tensors_returns_names_and_layout_of_model() -> None:
    p, mean = initial_state(PLAN).parameters, np.arange(8.0)
    tensors = as_tensors(p, mean)
    assert np.array_equal(tensors["attn.q.weight"], p["W_Q"].T)
    assert np.array_equal(tensors["attn.o.weight"], p["W_O"].T)
    assert np.array_equal(tensors["attn.o.bias"], p["c"])
    assert np.array_equal(tensors["attn.offset_bias"], p["offset"])
    assert np.array_equal(tensors["embed.mean"], mean)
    assert all(t.flags.c_contiguous for t in tensors.values())


def test_learning_rate_warms_up_then_decays_by_half_cosine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Warm-up over 2% of the run, from a hundredth of the rate, times (1 + cos(pi done)) / 2."""
    corpus, _ = a_corpus()
    n_steps = len(make_batches(corpus.training, PLAN.batch, None))
    plan = replace(PLAN, epochs=100 / n_steps, rate=0.5)
    rates: list[float] = []
    update = Adam.update

    def recorded(adam, parameters, gradients, rate):
        rates.append(rate)
        return update(adam, parameters, gradients, rate)

    monkeypatch.setattr(Adam, "update", recorded)
    the_end(plan)
    assert len(rates) == 100
    assert rates[0] == pytest.approx(0.5 * 0.01)
    assert rates[1] == pytest.approx(0.5 * 0.51 * 0.99975336)  # (1 + cos 1.8°) / 2
    assert rates[2] == pytest.approx(0.5 * 0.99901336)  # (1 + cos 3.6°) / 2: no more than all
    assert rates[25] == pytest.approx(0.5 * (2 + 2**0.5) / 4)  # 45°
    assert rates[50] == pytest.approx(0.5 / 2)  # 90°
    assert rates[75] == pytest.approx(0.5 * (2 - 2**0.5) / 4)  # 135°
