"""Evidence that a head is of a kind: its score compared with chance, and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qkv_cli.analysis.measure import KINDS, Sums
from qkv_cli.core.arrays import Array

P_LEVEL = 0.01  # the probability of any label if all patterns were random
LEAST_EFFECT = 0.25  # the smallest effect size of a label


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over observations (see `Kind.unit`), each [n_heads, n_kinds]."""

    n_observations: Array
    share: Array  # weight on keys of the kind
    chance: Array  # the expected weight of permuted rows

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.n_observations + other.n_observations,
            self.share + other.share,
            self.chance + other.chance,
        )


def tally(shuffled: Sums, repeated: Sums) -> Tally:
    """Return the observations of a shuffled and of a repeated reading."""
    return tally_shuffled(shuffled) + tally_repeated(repeated)


def tally_shuffled(reading: Sums) -> Tally:
    """Return the observations of kinds that need no repetition."""
    by_row = np.array([kind.unit == "row" for kind in KINDS])
    return _rows(reading, by_row) + tally_readings(reading)


def tally_repeated(reading: Sums) -> Tally:
    """Return the observations of kinds that need repetition."""
    return _rows(reading, np.array([kind.repeated for kind in KINDS]))


def tally_readings(reading: Sums) -> Tally:
    """Return one observation of each kind whose rows share their target keys: the mean of the rows.

    Texts as written count for these kinds too. For other kinds they would be misleading: a head
    that attends from *the* to the noun after it is not a next-token head.
    """
    n = np.maximum(reading.targeted, 1)
    shared = np.array([float(kind.unit == "reading") for kind in KINDS])
    return Tally(
        (reading.targeted > 0) * shared, reading.share / n * shared, reading.chance / n * shared
    )


def _rows(sums: Sums, kinds: Array) -> Tally:
    return Tally(sums.targeted * kinds, sums.share * kinds, sums.chance * kinds)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence that a head is of a kind.

    Attributes:
        score: The mean weight on the kind's keys.
        chance: The expected score of random patterns of equal entropy.
        effect: (score - chance) / (1 - chance): 0 is chance, 1 is all the weight.
        n: The number of observations.
        p: A bound on the probability of such a score by chance, corrected for all tests.
    """

    score: float
    chance: float
    effect: float
    n: int
    p: float

    @property
    def beats_chance(self) -> bool:
        """Whether the effect is large enough and too unlikely to be chance."""
        return self.effect >= LEAST_EFFECT and self.p <= P_LEVEL


def weigh_evidence(total: Tally, n_words: int) -> list[dict[str, Evidence]]:
    """Return the evidence of each head, for each kind with at least one observation.

    The p-value is Hoeffding's bound for the mean of n independent numbers from 0 to 1
    (Hoeffding 1963, theorem 1: exp(-n KL(score || chance))), times the number of tests
    (Bonferroni). It is an upper bound.

    Args:
        n_words: The number of different words: the maximum n of kinds whose unit is a word.
    """
    by_word = np.array([kind.unit == "word" for kind in KINDS])
    n = np.where(by_word, np.minimum(total.n_observations, n_words), total.n_observations)
    n_tests = int((n > 0).sum())
    evidence: list[dict[str, Evidence]] = []
    for head in range(len(n)):
        head_evidence = {}
        for kind, name in enumerate(kind.name for kind in KINDS):
            if n_observations := float(total.n_observations[head, kind]):
                score = float(total.share[head, kind]) / n_observations
                chance = float(total.chance[head, kind]) / n_observations
                head_evidence[name] = _evidence(score, chance, round(n[head, kind]), n_tests)
        evidence.append(head_evidence)
    return evidence


def labels(evidence: Mapping[str, Evidence]) -> list[str]:
    """Return the kinds whose evidence beats chance, the largest effect first."""
    supported_kinds = [name for name, item in evidence.items() if item.beats_chance]
    return sorted(supported_kinds, key=lambda name: -evidence[name].effect)


def _evidence(score: float, chance: float, n: int, n_tests: int) -> Evidence:
    effect = (score - chance) / (1 - chance) if chance < 1 else 0.0
    p_bound = np.exp(-n * binary_kl(score, chance)) if score > chance else 1.0
    return Evidence(
        score=score, chance=chance, effect=effect, n=n, p=float(min(1.0, n_tests * p_bound))
    )


def binary_kl(score: float, chance: float) -> float:
    """Return the Kullback-Leibler divergence of two Bernoulli distributions, in nats."""
    score = min(max(score, 0.0), 1.0)  # float32 rows may sum to slightly more than 1
    outcomes = ((score, chance), (1 - score, 1 - chance))
    return float(sum(x * np.log(x / y) for x, y in outcomes if x > 0))
