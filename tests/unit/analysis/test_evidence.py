"""Labels: only where the evidence beats chance."""

from __future__ import annotations

from math import comb, exp, log

import numpy as np
import pytest

from qkv_cli.analysis.labels import (
    LEAST_EFFECT,
    P_LEVEL,
    Evidence,
    Tally,
    binary_kl,
    tally,
    tally_readings,
    weigh_evidence,
)
from qkv_cli.analysis.measure import KINDS, NAMES, Sums

N_KINDS = len(KINDS)


def total(kind: str, pieces: float, score: float, chance: float, n_heads: int = 1) -> Tally:
    """Evidence on one kind of the first head."""
    result = [np.zeros((n_heads, N_KINDS)) for _ in range(3)]
    values = (pieces, pieces * score, pieces * chance)
    for array, value in zip(result, values, strict=True):
        array[0, NAMES.index(kind)] = value
    return Tally(*result)


def test_weigh_computes_effect_and_p_value() -> None:
    [[*_, (name, e)]] = [
        list(h.items()) for h in weigh_evidence(total("previous", 40, 0.6, 0.1), 99)
    ]
    bound = exp(-40 * (0.6 * log(0.6 / 0.1) + 0.4 * log(0.4 / 0.9)))
    assert name == "previous"
    assert (e.score, e.chance, e.n) == (pytest.approx(0.6), pytest.approx(0.1), 40)
    assert e.effect == pytest.approx(0.5 / 0.9)
    assert e.p == pytest.approx(bound)
    assert e.beats_chance


def test_weigh_multiplies_p_value_by_number_of_tests() -> None:
    one = weigh_evidence(total("previous", 40, 0.4, 0.1), 99)[0]["previous"]
    many = total("previous", 40, 0.4, 0.1, n_heads=5)
    for array, value in ((many.n_observations, 40), (many.chance, 4.0)):
        array[1:, :2] = value
    assert weigh_evidence(many, 99)[0]["previous"].p == pytest.approx(9 * one.p)
    assert [set(head) for head in weigh_evidence(many, 99)] == [
        {"previous"},
        *[{"self", "previous"}] * 4,
    ]


def test_weigh_p_value_is_upper_bound_of_binomial_tail() -> None:
    """All or nothing with the chance of 1 in 4: the binomial tail."""
    n, chance = 20, 0.25
    for hits in range(5, 21):
        exact = sum(comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(hits, n + 1))
        result = weigh_evidence(total("previous", n, hits / n, chance), 99)[0]["previous"].p
        assert exact <= result <= 40 * exact or result == 1


@pytest.mark.parametrize(
    ("effect", "p", "yes"),
    [
        (LEAST_EFFECT, P_LEVEL, True),
        (LEAST_EFFECT - 0.01, 0.0, False),
        (1.0, P_LEVEL * 1.01, False),
    ],
)
def test_evidence_beats_chance_only_if_effect_and_p_value_suffice(
    effect: float, p: float, yes: bool
) -> None:
    assert Evidence(0.5, 0.1, effect, 9, p).beats_chance is yes


def test_weigh_of_score_below_chance_gives_p_value_1() -> None:
    e = weigh_evidence(total("previous", 1000, 0.05, 0.1), 99)[0]["previous"]
    assert e.p == 1.0 and e.effect < 0 and not e.beats_chance


def test_weigh_counts_repeated_words_only_once() -> None:
    """Two words, all of them duplicate: whatever the number of readings, n is 2."""
    e = weigh_evidence(total("duplicate", 500, 1.0, 0.2), 2)[0]["duplicate"]
    assert (e.n, e.beats_chance) == (2, False)
    assert weigh_evidence(total("duplicate", 500, 1.0, 0.2), 30)[0]["duplicate"].beats_chance


def test_binary_kl_at_or_slightly_beyond_limits_equals_log_2() -> None:
    assert binary_kl(1.0000001, 0.5) == pytest.approx(log(2))
    assert binary_kl(0.0, 0.5) == pytest.approx(log(2))


def sums(rows: float, share: float, chance: float) -> Sums:
    one = np.zeros(1)
    kinds = [np.full((1, N_KINDS), x) for x in (rows, share, chance)]
    return Sums(one, one, one, one, *kinds)


def test_tally_counts_rows_readings_or_words_by_unit_of_kind() -> None:
    """Ten rows shuffled, of mean .6 and chance .2; twenty repeated, of mean .5 and chance .1."""
    result = tally(sums(10, 6.0, 2.0), sums(20, 10.0, 2.0))
    expected = {"row": (10, 6.0, 2.0), "reading": (1, 0.6, 0.2), "word": (20, 10.0, 2.0)}
    for at, kind in enumerate(KINDS):
        got = tuple(x[0, at] for x in (result.n_observations, result.share, result.chance))
        assert got == pytest.approx(expected[kind.unit]), kind.name


def test_whole_counts_only_kinds_measured_by_reading() -> None:
    result = tally_readings(sums(10, 6.0, 2.0)) + tally_readings(sums(5, 2.0, 1.0))
    for at, kind in enumerate(KINDS):
        got = tuple(x[0, at] for x in (result.n_observations, result.share, result.chance))
        assert got == pytest.approx((2, 1.0, 0.4) if kind.unit == "reading" else (0, 0, 0))


def test_tally_of_reading_without_targeted_rows_is_empty() -> None:
    assert not tally(sums(0, 0.0, 0.0), sums(0, 0.0, 0.0)).n_observations.any()


def test_tallies_add_elementwise() -> None:
    one, two = total("first", 3, 0.5, 0.1), total("first", 2, 0.25, 0.2)
    first = NAMES.index("first")
    both = one + two
    assert both.n_observations[0, first] == 5
    assert both.share[0, first] == pytest.approx(3 * 0.5 + 2 * 0.25)
    assert both.chance[0, first] == pytest.approx(3 * 0.1 + 2 * 0.2)


def test_weigh_with_chance_of_1_has_zero_effect() -> None:
    e = weigh_evidence(total("previous", 40, 1.0, 1.0), 99)[0]["previous"]
    assert (e.effect, e.p, e.beats_chance) == (0.0, 1.0, False)
