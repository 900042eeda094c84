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
    weigh,
    whole,
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


def test_evidence_matches_hand_arithmetic() -> None:
    [[*_, (name, e)]] = [list(h.items()) for h in weigh(total("previous", 40, 0.6, 0.1), 99)]
    bound = exp(-40 * (0.6 * log(0.6 / 0.1) + 0.4 * log(0.4 / 0.9)))
    assert name == "previous"
    assert (e.score, e.chance, e.n) == (pytest.approx(0.6), pytest.approx(0.1), 40)
    assert e.effect == pytest.approx(0.5 / 0.9)
    assert e.p == pytest.approx(bound)
    assert e.beats_chance


def test_evidence_required_grows_with_the_number_of_tests() -> None:
    single_test = weigh(total("previous", 40, 0.4, 0.1), 99)[0]["previous"]
    tallies = total("previous", 40, 0.4, 0.1, n_heads=5)
    for array, value in ((tallies.pieces, 40), (tallies.chance, 4.0)):
        array[1:, :2] = value
    assert weigh(tallies, 99)[0]["previous"].p == pytest.approx(9 * single_test.p)
    assert [set(head) for head in weigh(tallies, 99)] == [{"previous"}, *[{"self", "previous"}] * 4]


def test_tail_bound_is_never_below_the_exact_tail() -> None:
    """Weights of 0 or 1 with a chance of 1/4: the binomial tail."""
    n, chance = 20, 0.25
    for hits in range(5, 21):
        exact = sum(comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(hits, n + 1))
        result = weigh(total("previous", n, hits / n, chance), 99)[0]["previous"].p
        assert exact <= result <= 40 * exact or result == 1


@pytest.mark.parametrize(
    ("effect", "p", "yes"),
    [
        (LEAST_EFFECT, P_LEVEL, True),
        (LEAST_EFFECT - 0.01, 0.0, False),
        (1.0, P_LEVEL * 1.01, False),
    ],
)
def test_label_needs_significance_and_effect(effect: float, p: float, yes: bool) -> None:
    assert Evidence(0.5, 0.1, effect, 9, p).beats_chance is yes


def test_weight_below_chance_gives_no_label() -> None:
    e = weigh(total("previous", 1000, 0.05, 0.1), 99)[0]["previous"]
    assert e.p == 1.0 and e.effect < 0 and not e.beats_chance


def test_repeated_texts_add_no_evidence() -> None:
    """Two words, both duplicates: n is 2 for any number of readings."""
    e = weigh(total("duplicate", 500, 1.0, 0.2), 2)[0]["duplicate"]
    assert (e.n, e.beats_chance) == (2, False)
    assert weigh(total("duplicate", 500, 1.0, 0.2), 30)[0]["duplicate"].beats_chance


def test_row_that_sums_to_slightly_more_than_1_is_accepted() -> None:
    assert binary_kl(1.0000001, 0.5) == pytest.approx(log(2))
    assert binary_kl(0.0, 0.5) == pytest.approx(log(2))


def sums(rows: float, share: float, chance: float) -> Sums:
    zeros = np.zeros(1)
    kinds = [np.full((1, N_KINDS), x) for x in (rows, share, chance)]
    return Sums(zeros, zeros, zeros, zeros, *kinds)


def test_rows_that_share_a_key_count_once() -> None:
    """Ten rows shuffled, of mean .6 and chance .2; twenty repeated, of mean .5 and chance .1."""
    result = tally(sums(10, 6.0, 2.0), sums(20, 10.0, 2.0))
    expected = {"row": (10, 6.0, 2.0), "reading": (1, 0.6, 0.2), "word": (20, 10.0, 2.0)}
    for at, kind in enumerate(KINDS):
        counted = tuple(x[0, at] for x in (result.pieces, result.share, result.chance))
        assert counted == pytest.approx(expected[kind.unit]), kind.name


def test_text_as_written_gives_evidence_only_of_some_kinds() -> None:
    result = whole(sums(10, 6.0, 2.0)) + whole(sums(5, 2.0, 1.0))
    for at, kind in enumerate(KINDS):
        counted = tuple(x[0, at] for x in (result.pieces, result.share, result.chance))
        assert counted == pytest.approx((2, 1.0, 0.4) if kind.unit == "reading" else (0, 0, 0))


def test_reading_without_keys_of_a_kind_gives_no_evidence() -> None:
    assert not tally(sums(0, 0.0, 0.0), sums(0, 0.0, 0.0)).pieces.any()


def test_tallies_of_two_readings_add() -> None:
    first_tally, second_tally = total("first", 3, 0.5, 0.1), total("first", 2, 0.25, 0.2)
    first = NAMES.index("first")
    summed = first_tally + second_tally
    assert summed.pieces[0, first] == 5
    assert summed.share[0, first] == pytest.approx(3 * 0.5 + 2 * 0.25)
    assert summed.chance[0, first] == pytest.approx(3 * 0.1 + 2 * 0.2)


def test_evidence_has_no_effect_if_chance_gives_all_the_weight() -> None:
    e = weigh(total("previous", 40, 1.0, 1.0), 99)[0]["previous"]
    assert (e.effect, e.p, e.beats_chance) == (0.0, 1.0, False)
