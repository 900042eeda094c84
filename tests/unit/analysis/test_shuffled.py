"""The same words in another order."""

from __future__ import annotations

import numpy as np
import pytest
from made_heads import Words, causal, head_maps, looking

from qkv_cli.analysis.measure import Overlap, dealt, overlap
from qkv_cli.maps.compute import MAX_REPEATED, MAX_SAMPLED, repeated, sampled, shuffled

TEXT = "one two three four five six seven eight"


TOKENS = Words().encode(TEXT)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_shuffled_keeps_every_word_and_the_special_tokens() -> None:
    before, after = TOKENS, shuffled(TOKENS, generator())
    assert [t.token for t in (after[0], after[-1])] == ["[CLS]", "[SEP]"]
    assert sorted(t.i for t in after) == list(range(len(before)))
    assert [t.i for t in after] != [t.i for t in before]
    assert all(before[t.i] == t for t in after)


def test_shuffled_gives_every_order() -> None:
    rng, tokens = generator(), Words().encode("a b c")
    orders = {tuple(t.text for t in shuffled(tokens, rng)) for _ in range(100)}
    assert len(orders) == 6


def test_repeated_has_the_words_twice_in_one_order() -> None:
    result = [t.token for t in repeated(TOKENS, generator())]
    words = result[1:-1]
    assert (result[0], result[-1]) == ("[CLS]", "[SEP]")
    assert words[:8] == words[8:]
    assert sorted(words[:8]) == sorted(TEXT.split())
    assert words[:8] != TEXT.split()


def test_repeated_shortens_a_long_text() -> None:
    text = " ".join(f"w{i}" for i in range(100))
    result = repeated(Words().encode(text), generator())
    assert len(result) == 2 * MAX_REPEATED + 2


def test_sampled_has_each_word_once_between_the_special_tokens() -> None:
    tokens = Words().encode(" ".join(f"w{i}" for i in range(100)))
    result = sampled(tokens, generator())
    assert [result[0].token, result[-1].token] == ["[CLS]", "[SEP]"]
    words = [t.token for t in result[1:-1]]
    assert len(words) == len(set(words)) == MAX_SAMPLED
    assert words != sorted(words)
    assert set(words) != {t.token for t in sampled(tokens, generator(1))[1:-1]}
    assert [t.i for t in sampled(TOKENS, generator())] == [
        t.i for t in shuffled(TOKENS, generator())
    ]


def test_shuffled_text_without_words_is_unchanged() -> None:
    bare = Words().encode("")
    assert repeated(bare, generator()) == sampled(bare, generator()) == bare


def test_permuted_rows_keep_their_weights_within_the_mask() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((2, 5, 6)) < 0.6
    weights = np.where(mask, rng.random((2, 5, 6)), 0.0)
    result = dealt(weights, mask, rng)
    assert not result[~mask].any()
    assert np.array_equal(np.sort(result, axis=-1), np.sort(weights, axis=-1))
    assert not np.array_equal(result, weights)


def test_permuted_rows_are_uniform() -> None:
    rng, mask = np.random.default_rng(0), np.array([[True, False, True, True]])
    weights = np.array([[0.6, 0.0, 0.3, 0.1]])
    mean = np.mean([dealt(weights, mask, rng) for _ in range(4000)], axis=0)
    assert mean[0] == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.02)


def by_hand(a, b, seen_a, seen_b, order, to_place) -> tuple[float, float]:
    """The overlap and its maximum; `order[p]` is the word at place p of the shuffled reading."""
    n = len(order)
    common = total = 0.0
    for i in range(1, n - 1):
        cells = []
        for j in range(1, n - 1):
            p, r = to_place(i), to_place(j)
            stayed = order[i] == i and order[j] == j
            if i != j and seen_a[i, j] and seen_b[p, r] and not stayed:
                cells.append((a[i, j], b[p, r]))
        left, right = sum(x for x, _ in cells), sum(y for _, y in cells)
        if left and right:
            mass = (left + right) / 2
            common += mass * sum(min(x / left, y / right) for x, y in cells)
            total += mass
    return common, total


@pytest.mark.parametrize("masked", [False, True])
def test_overlap_is_the_sum_over_cells(masked: bool) -> None:
    rng = np.random.default_rng(1)
    before, after = TOKENS, shuffled(TOKENS, generator(2))
    n = len(before)
    mask = np.triu(np.full((n, n), -np.inf), 1) if masked else np.zeros((n, n))
    first = head_maps(before, [rng.normal(0, 2, (n, n)) + mask])
    second = head_maps(after, [rng.normal(0, 2, (n, n)) + mask])
    result = overlap(first, second, rng)
    order = [t.i for t in after]
    a, b = first.maps[0], second.maps[0]
    visible = mask == 0
    ways = (lambda i: i, order.index)  # the same places, the same words
    for column, to_place in enumerate(ways):
        common, total = by_hand(a.pattern, b.pattern, visible, visible, order, to_place)
        assert result.common[0, column] == pytest.approx(common)
        assert result.whole[0, column] == pytest.approx(total)


def survival(rule, seed: int = 0) -> tuple[float | None, float | None]:
    """Position and content of a head that follows a rule, over 40 readings."""
    rng = generator(seed)
    total: Overlap | None = None
    for _ in range(40):
        before, after = TOKENS, shuffled(TOKENS, rng)
        new = overlap(head_maps(before, [rule(before)]), head_maps(after, [rule(after)]), rng)
        total = new if total is None else total + new
    assert total is not None
    return total.beyond_chance(0, 0), total.beyond_chance(0, 1)


PREVIOUS = looking(lambda tokens, i, j: j == i - 1)
PAIRS = np.random.default_rng(5).normal(0, 3, (20, 20))


def by_word(tokens) -> np.ndarray:
    """Scores that depend on the two words, not on their places."""
    ids = [t.id for t in tokens]
    return PAIRS[np.ix_(ids, ids)]


@pytest.mark.parametrize("mask", [lambda rule: rule, causal])
def test_overlap_of_a_positional_head_stays_with_positions(mask) -> None:
    position, content = survival(mask(PREVIOUS))
    assert position == pytest.approx(1.0)
    assert abs(content) < 0.15


@pytest.mark.parametrize("mask", [lambda rule: rule, causal])
def test_overlap_of_a_content_head_moves_with_the_words(mask) -> None:
    position, content = survival(mask(by_word))
    assert abs(position) < 0.15
    assert content == pytest.approx(1.0)


def test_overlap_of_uniform_weights_is_undefined() -> None:
    assert survival(looking(lambda tokens, i, j: False)) == (None, None)


@pytest.mark.parametrize(
    ("common", "chance", "total", "expected"),
    [
        (999.75, 998.5, 1000.0, 1.25 / 1.5),  # the total is 1.5 above chance
        (997.75, 998.5, 1000.0, -0.75 / 1.5),  # less than by chance
        (999.5, 999.0, 1000.0, None),  # 1: a thousandth of the total, not more
        (999.75, 999.5, 1000.0, None),
        (1.0, 1.0, 1.0, None),  # chance equals the total
        (0.0, 0.0, 0.0, None),  # the total is zero
    ],
)
def test_overlap_with_a_margin_below_a_thousandth_is_undefined(
    common: float, chance: float, total: float, expected: float | None
) -> None:
    """With so small a margin, the quotient would be an amplified rounding error."""
    amounts = (np.array([[-7.0, x], [-7.0, -7.0]]) for x in (common, chance, total))
    assert Overlap(*amounts).beyond_chance(0, 1) == pytest.approx(expected)
