"""The same words in another order."""

from __future__ import annotations

import numpy as np
import pytest
from made_heads import Words, causal, head_maps, looking

from qkv_cli.analysis import measure as analysis_measure
from qkv_cli.analysis.measure import Overlap, overlap, permute_rows
from qkv_cli.maps.compute import MAX_REPEATED, MAX_SAMPLED, repeated, sampled, shuffled

TEXT = "one two three four five six seven eight"


TOKENS = Words().encode(TEXT)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_shuffled_keeps_every_word_and_leaves_special_tokens_in_place() -> None:
    before, after = TOKENS, shuffled(TOKENS, generator())
    assert [t.token for t in (after[0], after[-1])] == ["[CLS]", "[SEP]"]
    assert sorted(t.i for t in after) == list(range(len(before)))
    assert [t.i for t in after] != [t.i for t in before]
    assert all(before[t.i] == t for t in after)


def test_shuffled_of_three_words_produces_every_order() -> None:
    rng, tokens = generator(), Words().encode("a b c")
    orders = {tuple(t.text for t in shuffled(tokens, rng)) for _ in range(100)}
    assert len(orders) == 6


def test_repeated_writes_shuffled_words_twice_in_same_order() -> None:
    result = [t.token for t in repeated(TOKENS, generator())]
    words = result[1:-1]
    assert (result[0], result[-1]) == ("[CLS]", "[SEP]")
    assert words[:8] == words[8:]
    assert sorted(words[:8]) == sorted(TEXT.split())
    assert words[:8] != TEXT.split()


def test_repeated_of_long_text_uses_limited_number_of_words() -> None:
    text = " ".join(f"w{i}" for i in range(100))
    result = repeated(Words().encode(text), generator())
    assert len(result) == 2 * MAX_REPEATED + 2


def test_sampled_of_long_text_draws_distinct_words_between_special_tokens() -> None:
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


def test_repeated_and_sampled_of_text_without_words_return_it_unchanged() -> None:
    bare = Words().encode("")
    assert repeated(bare, generator()) == sampled(bare, generator()) == bare


def test_dealt_permutes_weights_of_each_row_among_visible_keys() -> None:
    rng = np.random.default_rng(0)
    seen = rng.random((2, 5, 6)) < 0.6
    weights = np.where(seen, rng.random((2, 5, 6)), 0.0)
    result = permute_rows(weights, seen, rng)
    assert not result[~seen].any()
    assert np.array_equal(np.sort(result, axis=-1), np.sort(weights, axis=-1))
    assert not np.array_equal(result, weights)


def test_dealt_gives_each_visible_key_same_mean_weight() -> None:
    rng, seen = np.random.default_rng(0), np.array([[True, False, True, True]])
    weights = np.array([[0.6, 0.0, 0.3, 0.1]])
    mean = np.mean([permute_rows(weights, seen, rng) for _ in range(4000)], axis=0)
    assert mean[0] == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.02)


def by_hand(a, b, seen_a, seen_b, order, to_place) -> tuple[float, float]:
    """Overlap and the whole: `order[p]` is the word that the shuffled reading has at p."""
    n = len(order)
    common = whole = 0.0
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
            whole += mass
    return common, whole


@pytest.mark.parametrize("block", [1 << 17, 50, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_overlap_in_blocks_of_any_size_equals_sum_over_cells(
    monkeypatch: pytest.MonkeyPatch, masked: bool, block: int
) -> None:
    monkeypatch.setattr(analysis_measure, "_CELLS", block)
    monkeypatch.setattr(analysis_measure, "_ROWS", 3)
    rng = np.random.default_rng(1)
    before, after = TOKENS, shuffled(TOKENS, generator(2))
    n = len(before)
    mask = np.triu(np.full((n, n), -np.inf), 1) if masked else np.zeros((n, n))
    one = head_maps(before, [rng.normal(0, 2, (n, n)) + mask])
    two = head_maps(after, [rng.normal(0, 2, (n, n)) + mask])
    result = overlap(one, two, rng)
    order = [t.i for t in after]
    a, b = one.maps[0], two.maps[0]
    seen = mask == 0
    ways = (lambda i: i, order.index)  # the same places, the same words
    for column, to_place in enumerate(ways):
        common, whole = by_hand(a.pattern, b.pattern, seen, seen, order, to_place)
        assert result.common[0, column] == pytest.approx(common)
        assert result.maximum[0, column] == pytest.approx(whole)


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
    """Scores that two words have wherever they stand."""
    ids = [t.id for t in tokens]
    return PAIRS[np.ix_(ids, ids)]


@pytest.mark.parametrize("mask", [lambda rule: rule, causal])
def test_overlap_of_head_by_position_survives_by_position_only(mask) -> None:
    position, content = survival(mask(PREVIOUS))
    assert position == pytest.approx(1.0)
    assert abs(content) < 0.15


@pytest.mark.parametrize("mask", [lambda rule: rule, causal])
def test_overlap_of_head_by_content_survives_by_word_only(mask) -> None:
    position, content = survival(mask(by_word))
    assert abs(position) < 0.15
    assert content == pytest.approx(1.0)


def test_overlap_of_uniform_weights_is_none() -> None:
    assert survival(looking(lambda tokens, i, j: False)) == (None, None)


@pytest.mark.parametrize(
    ("common", "chance", "whole", "expected"),
    [
        (999.75, 998.5, 1000.0, 1.25 / 1.5),  # 1.5 between chance and all
        (997.75, 998.5, 1000.0, -0.75 / 1.5),  # less than by chance
        (999.5, 999.0, 1000.0, None),  # 1: a thousandth of the whole, and no more
        (999.75, 999.5, 1000.0, None),
        (1.0, 1.0, 1.0, None),  # chance leaves everything
        (0.0, 0.0, 0.0, None),  # nothing was there to be left
    ],
)
def test_beyond_chance_with_room_below_one_thousandth_returns_none(
    common: float, chance: float, whole: float, expected: float | None
) -> None:
    """In so little room the answer would be a rounding error, blown up a thousandfold."""
    amounts = (np.array([[-7.0, x], [-7.0, -7.0]]) for x in (common, chance, whole))
    assert Overlap(*amounts).beyond_chance(0, 1) == pytest.approx(expected)
