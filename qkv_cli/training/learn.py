"""The training loop: Adam over the heads, with evaluation on held-out sentences."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.errors import TrainingError
from qkv_cli.training.corpus import Buckets, Corpus, Ids, draw_replacements, make_batches
from qkv_cli.training.heads import HeadShape, Parameters, initial_parameters
from qkv_cli.training.objective import forward, loss_and_gradients

BETA_1, BETA_2, EPS = 0.9, 0.99, 1e-8
DECAY = 0.01  # weight decay of matrices; biases have none


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam's running means of the gradients and of their squares (Kingma and Ba 2015)."""

    m: Parameters
    v: Parameters
    step: int = 0

    @classmethod
    def start(cls, parameters: Mapping[str, Array]) -> Adam:
        zeros = {name: np.zeros_like(p) for name, p in parameters.items()}
        return cls(zeros, {name: z.copy() for name, z in zeros.items()})

    def update(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], rate: float
    ) -> tuple[Parameters, Adam]:
        """Return the parameters after one step; those without a gradient do not change."""
        t = self.step + 1
        updated, m, v = dict(parameters), dict(self.m), dict(self.v)
        for name, g in gradients.items():
            m[name] = BETA_1 * m[name] + (1 - BETA_1) * g
            v[name] = BETA_2 * v[name] + (1 - BETA_2) * g * g
            root = np.sqrt(v[name] / (1 - BETA_2**t)) + EPS
            decay = 1 - rate * DECAY if name.startswith("W_") else 1.0
            p = parameters[name]
            step = rate / (1 - BETA_1**t) * m[name] / root
            updated[name] = (decay * p - step).astype(p.dtype)
        return updated, Adam(m, v, t)


K = 5  # replacement words per position
_SHARD = 512  # words that are processed at once; their arrays fit in the cache
_WARM_UP = 0.02  # the share of the run in which the rate rises
_EVALUATE_SEED = 0  # evaluations of all runs use the same replacements


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The settings of a run; either epochs or seconds limits it."""

    shape: HeadShape
    epochs: float | None = None
    seconds: float | None = None
    batch: int = 1536  # words
    rate: float = 3e-3
    seed: int = 0
    frozen: frozenset[str] = frozenset()  # parameters that are not trained
    evaluate_every: int = 500  # steps


@dataclass(frozen=True, slots=True)
class State:
    """The state of a run. A run that resumes from it continues as if it had not stopped."""

    parameters: Parameters
    adam: Adam
    elapsed: float = 0.0  # seconds
    best: Parameters = field(default_factory=dict)
    best_accuracy: float = -1.0

    @property
    def step(self) -> int:
        return self.adam.step


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress after one step."""

    state: State
    fraction: float  # of the run, 0 to 1
    loss: float  # running mean, in nats per word
    accuracy: float | None  # on held-out sentences, if measured after this step
    n_words: int  # processed by this process
    elapsed: float  # seconds since this process began


def initial_state(plan: TrainingPlan) -> State:
    """Return the state before the first step."""
    parameters = initial_parameters(plan.shape, plan.seed)
    return State(parameters, Adam.start(parameters))


def learn(corpus: Corpus, table: Array, plan: TrainingPlan, state: State) -> Iterator[Progress]:
    """Train, and yield after every step. A step's sentences depend only on its number and the seed.

    Args:
        table: Centred and scaled vectors of the corpus's types, [n_types, d_model].

    Raises:
        TrainingError: The loss or a parameter is NaN or infinite.
    """
    n_steps = len(make_batches(corpus.training, plan.batch, None))  # of an epoch
    started_at, elapsed_before = time.monotonic(), state.elapsed
    n_words, loss = 0, math.log(K + 1)
    epoch, batches = -1, list[Ids]()
    while (fraction := _fraction_done(plan, state, n_steps)) < 1:
        if epoch != state.step // n_steps:
            epoch = state.step // n_steps
            rng = np.random.default_rng([plan.seed, epoch])
            batches = make_batches(corpus.training, plan.batch, rng)
        batch = batches[state.step % n_steps]
        batch_loss, state = _step(corpus, table, plan, state, batch, _rate(plan, fraction))
        state = replace(state, elapsed=elapsed_before + time.monotonic() - started_at)
        n_words, loss = n_words + batch.size, 0.98 * loss + 0.02 * batch_loss / batch.size
        fraction, accuracy = _fraction_done(plan, state, n_steps), None
        if state.step % plan.evaluate_every == 0 or fraction >= 1:
            if not _is_finite(state.parameters):
                raise _diverged(state.step, plan.rate)
            state, accuracy = evaluate(corpus, table, state)
        yield Progress(
            state=state,
            fraction=fraction,
            loss=loss,
            accuracy=accuracy,
            n_words=n_words,
            elapsed=time.monotonic() - started_at,
        )


def _step(
    corpus: Corpus, table: Array, plan: TrainingPlan, state: State, batch: Ids, rate: float
) -> tuple[float, State]:
    """Return the loss of a batch, summed over its words, and the state after one step of Adam."""
    rng = np.random.default_rng([plan.seed, 1, state.step])
    candidates = draw_replacements(batch, corpus.unigrams, K, rng)
    with np.errstate(all="ignore"):  # NaN and infinity end the run
        loss, gradients = _gradients(state.parameters, table, candidates)
    if not math.isfinite(loss):
        raise _diverged(state.step, plan.rate)
    gradients = {n: g / batch.size for n, g in gradients.items() if n not in plan.frozen}
    with np.errstate(all="ignore"):
        parameters, adam = state.adam.update(state.parameters, gradients, rate)
    return loss, replace(state, parameters=parameters, adam=adam)


def _diverged(step: int, rate: float) -> TrainingError:
    return TrainingError(
        f"Training diverged at step {step + 1}: the loss or a parameter is NaN or infinite. "
        f"Try a --rate below {rate:g}."
    )


def _is_finite(parameters: Mapping[str, Array]) -> bool:
    """Whether all parameters are finite, except the offset bias that masks the word itself."""
    return all(bool((p < np.inf).all()) for p in parameters.values()) and all(
        bool((p > -np.inf).all()) for name, p in parameters.items() if name != "offset"
    )


def evaluate(corpus: Corpus, table: Array, state: State) -> tuple[State, float]:
    """Measure the accuracy of the parameters on held-out sentences.

    Returns:
        The state, with these parameters as the best if no earlier ones were better, and the
        accuracy, which is 0 for parameters with NaN or infinity.
    """
    if not _is_finite(state.parameters):
        return state, 0.0
    accuracy = held_out_accuracy(state.parameters, table, corpus.held_out, corpus.unigrams)
    if accuracy >= state.best_accuracy:
        state = replace(state, best=state.parameters, best_accuracy=accuracy)
    return state, accuracy


def _fraction_done(plan: TrainingPlan, state: State, n_steps: int) -> float:
    """Return the fraction of the run that is complete, by steps or by time."""
    by_steps = state.step / math.ceil(plan.epochs * n_steps) if plan.epochs else 0.0
    by_time = state.elapsed / plan.seconds if plan.seconds else 0.0
    return min(1.0, max(by_steps, by_time))


def _rate(plan: TrainingPlan, progress: float) -> float:
    """Return the learning rate: a short linear rise, then half a cosine down to 0."""
    return (
        plan.rate
        * min(1.0, progress / _WARM_UP + 0.01)
        * (0.5 + 0.5 * math.cos(math.pi * progress))
    )


def _gradients(
    parameters: Mapping[str, Array], table: Array, candidates: Ids
) -> tuple[float, Parameters]:
    """Return the loss and its gradients, summed over shards that fit in the cache."""
    shards = _shards(candidates)
    parts = [loss_and_gradients(parameters, table, shard) for shard in shards]
    gradients = {name: sum(p[1][name] for p in parts) for name in parts[0][1]}
    return sum(p[0] for p in parts), gradients  # type: ignore[return-value]


def _shards(candidates: Ids) -> list[Ids]:
    n_words = candidates.shape[0] * candidates.shape[2]
    return np.array_split(candidates, min(len(candidates), -(-n_words // _SHARD)))


def held_out_accuracy(
    parameters: Mapping[str, Array], table: Array, held_out: Buckets, unigrams: Ids
) -> float:
    """Return the share of words that score higher than their five replacements."""
    rng = np.random.default_rng(_EVALUATE_SEED)
    n_correct = n_words = 0
    for words in make_batches(held_out, _SHARD, None):
        scores = forward(parameters, table, draw_replacements(words, unigrams, K, rng)).scores
        n_correct += int((scores[:, 0] > scores[:, 1:].max(axis=1)).sum())
        n_words += words.size
    return n_correct / n_words
