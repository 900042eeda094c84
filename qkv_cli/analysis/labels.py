"""Is a head of a kind? Only if its score beats chance, and by much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qkv_cli.analysis.measure import KINDS, Sums
from qkv_cli.core.arrays import Array

P_LEVEL = 0.01  # the chance of one label or more if every head dealt its weights at random
LEAST_EFFECT = 0.25  # of the way from chance to all the weight


@dataclass(frozen=True, slots=True)
class Tally:
    """Pieces of evidence, see `Kind.unit`, and what they add up to; each [n_heads, n_kinds]."""

    pieces: Array
    share: Array
    chance: Array

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.pieces + other.pieces, self.share + other.share, self.chance + other.chance
        )


def tally(shuffled: Sums, repeated: Sums) -> Tally:
    """The evidence of a reading of shuffled words, and of one in which they stand twice."""
    return of_shuffled(shuffled) + of_repeated(repeated)


def of_shuffled(reading: Sums) -> Tally:
    """The evidence on kinds that need no repetition."""
    by_row = np.array([kind.unit == "row" for kind in KINDS])
    return _rows(reading, by_row) + whole(reading)


def of_repeated(reading: Sums) -> Tally:
    """The evidence on kinds that do."""
    return _rows(reading, np.array([kind.repeated for kind in KINDS]))


def whole(reading: Sums) -> Tally:
    """One piece for each kind whose rows share a key: the mean of the rows.

    Texts as they are written have this evidence too. Evidence of the other kinds would follow
    the words there: *the* and a noun behind it make no head of next tokens.
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
    """For and against a head's being of a kind.

    Attributes:
        score: Mean weight on the kind's keys.
        chance: The same for random patterns of equal entropy.
        effect: (score - chance) / (1 - chance): 0 is chance, 1 all the weight.
        n: Pieces of evidence.
        p: How likely such a score is by chance, corrected for the number of tests.
    """

    score: float
    chance: float
    effect: float
    n: int
    p: float

    @property
    def beats_chance(self) -> bool:
        return self.effect >= LEAST_EFFECT and self.p <= P_LEVEL


def weigh(total: Tally, n_words: int) -> list[dict[str, Evidence]]:
    """For each head, the evidence on each kind that had a chance to show.

    The p-value is Hoeffding's bound for the mean of n independent numbers from 0 to 1
    (Hoeffding 1963, theorem 1: exp(-n KL(score || chance))), times the number of tests
    (Bonferroni). It is never too small, however uneven the weights.

    Args:
        n_words: Different words that were read: no more evidence than that on kinds whose
            unit is a word.
    """
    by_word = np.array([kind.unit == "word" for kind in KINDS])
    n = np.where(by_word, np.minimum(total.pieces, n_words), total.pieces)
    tests = int((n > 0).sum())
    evidence: list[dict[str, Evidence]] = []
    for head in range(len(n)):
        of_head = {}
        for kind, name in enumerate(kind.name for kind in KINDS):
            if pieces := float(total.pieces[head, kind]):
                score = float(total.share[head, kind]) / pieces
                chance = float(total.chance[head, kind]) / pieces
                of_head[name] = _evidence(score, chance, round(n[head, kind]), tests)
        evidence.append(of_head)
    return evidence


def labels(evidence: Mapping[str, Evidence]) -> list[str]:
    """The kinds whose evidence beats chance, the largest effect first."""
    beyond = [name for name, item in evidence.items() if item.beats_chance]
    return sorted(beyond, key=lambda name: -evidence[name].effect)


def _evidence(score: float, chance: float, n: int, tests: int) -> Evidence:
    effect = (score - chance) / (1 - chance) if chance < 1 else 0.0
    bound = np.exp(-n * binary_kl(score, chance)) if score > chance else 1.0
    return Evidence(score, chance, effect, n, float(min(1.0, tests * bound)))


def binary_kl(score: float, chance: float) -> float:
    """Kullback-Leibler divergence in nats of a coin of one bias from a coin of another."""
    score = min(max(score, 0.0), 1.0)  # float32 rows may sum to a little more than 1
    sides = ((score, chance), (1 - score, 1 - chance))
    return float(sum(x * np.log(x / y) for x, y in sides if x > 0))
