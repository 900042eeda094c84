"""Two maps on common rows and columns."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import numpy as np
import pytest

from qkv_cli.analysis.compare import compare, largest_changes, nearest_heads
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps

INFO = ModelInfo("hand", "bert", 2, 4, 4, 2, 100, "made by hand")


def tokens(text: str) -> list[Token]:
    result: list[Token] = []
    for word in text.split():
        start = text.index(word, result[-1].end if result else 0)
        result.append(Token(len(result), word, word, 5, start, start + len(word)))
    return result


def maps(text: str, pattern, *, name: str = "L0H0", mask=True, **changes) -> HeadMaps:
    words = tokens(text)
    weights = np.array(pattern, dtype=np.float32)
    m = HeadMap(name, "self", 0, int(name[-1]), weights, mask=np.array(mask))
    built = HeadMaps(INFO, "softmax", False, text, None, words, words, [m])
    return replace(built, **changes)


ONE = [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]
TWO = [[0.5, 0.25, 0.25], [0.7, 0.2, 0.1], [0.2, 0.3, 0.5]]


def test_compare_of_two_heads_gives_difference_divergence_and_correlation() -> None:
    c = compare(maps("the river bank", ONE), maps("the river bank", TWO, name="L0H1"))
    assert [t.text for t in c.queries] == [t.text for t in c.keys] == ["the", "river", "bank"]
    assert c.difference == pytest.approx(np.float32(TWO) - np.float32(ONE), abs=1e-7)
    p, q = np.array(ONE[1]), np.array(TWO[1])
    m = (p + q) / 2
    by_hand = (p * np.log2(p / m)).sum() / 2 + (q * np.log2(q / m)).sum() / 2
    assert c.divergence[0] == 0
    assert c.divergence[1] == pytest.approx(by_hand, abs=1e-6)
    assert c.mean_divergence == pytest.approx(np.mean(c.divergence))
    assert c.pearson == pytest.approx(np.corrcoef(np.ravel(ONE), np.ravel(TWO))[0, 1], abs=1e-6)


def test_compare_of_head_with_itself_is_exactly_equal() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        e = np.exp(rng.normal(0, 3, (7, 7)).astype(np.float32))
        head = maps("a b c d e f g", e / e.sum(axis=1, keepdims=True))
        c = compare(head, head)
        assert c.mean_divergence == 0.0 and not c.divergence.any()
        assert not c.difference.any()
        assert c.cosine == 1.0
        assert largest_changes(c, 5) == []


def test_compare_with_inserted_word_adds_column_but_no_row() -> None:
    longer = [[0.1, 0.2, 0.3, 0.4], [0.25] * 4, [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 0.0, 0.0]]
    c = compare(maps("the river bank", ONE), maps("the muddy river bank", longer))
    assert [t.text for t in c.queries] == ["the", "river", "bank"]
    assert [t.text for t in c.keys] == ["the", "+muddy", "river", "bank"]
    assert [t.i for t in c.queries] == [0, 2, 3]
    assert np.isnan(c.weights_a[:, 1]).all()
    assert c.difference[:, 1] == pytest.approx([0.2, 0.3, 1.0])
    # The second row, river, gives weight to the new word, which the other text does not have.
    p, q = np.array([0.1, 0, 0.8, 0.1]), np.array([0.4, 0.3, 0.2, 0.1])
    m = (p + q) / 2
    by_hand = sum(x * np.log2(x / y) / 2 for r in (p, q) for x, y in zip(r, m, strict=True) if x)
    assert c.divergence[1] == pytest.approx(by_hand, abs=1e-6)


def test_compare_of_models_with_different_tokens_merges_them_into_words() -> None:
    text = "unhappy river"
    pieces = [Token(0, "un", "un", 1, 0, 2), Token(1, "happy", "##happy", 2, 2, 7)]
    pieces.append(Token(2, "river", "river", 3, 8, 13))
    pattern = np.float32([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]])
    other_maps = replace(
        maps("a b c", pattern), text=text, queries=pieces, keys=pieces,
        model=replace(INFO, name="other"),
    )  # fmt: skip
    c = compare(maps(text, [[0.5, 0.5], [0.5, 0.5]]), other_maps)
    assert [t.text for t in c.queries] == ["unhappy", "river"]
    # Keys are summed, queries averaged.
    by_hand = [[(0.5 + 0.8) / 2, (0.5 + 0.2) / 2], [0.3, 0.7]]
    assert c.weights_b == pytest.approx(np.array(by_hand), abs=1e-6)


def test_compare_within_one_model_does_not_merge_sub_words() -> None:
    pieces = [Token(0, "un", "un", 1, 0, 2), Token(1, "happy", "##happy", 2, 2, 7)]
    subword_maps = replace(
        maps("a b", [[0.5, 0.5]] * 2), text="unhappy", queries=pieces, keys=pieces
    )
    assert len(compare(subword_maps, subword_maps).queries) == 2


def test_compare_of_cells_masked_in_both_maps_is_nan() -> None:
    masked = maps("a b", [[0, 1], [0.5, 0.5]], mask=[[False, True], [True, True]])
    free = maps("a b", [[0.5, 0.5], [0.5, 0.5]])
    compared = compare(masked, masked)
    assert np.isnan(compared.difference[0, 0]) and not np.isnan(compared.difference[1]).any()
    assert compare(masked, free).difference[0, 0] == pytest.approx(0.5)


def test_compare_of_unmasked_zero_weights_gives_0() -> None:
    head = maps("a b", [[0, 1], [0.5, 0.5]])
    assert compare(head, head).difference[0, 0] == 0


def test_compare_with_linear_weights_has_nan_divergence() -> None:
    linear = replace(maps("a b", [[-1, 3], [2, 0.5]]), weighting="linear")
    c = compare(maps("a b", [[0.5, 0.5], [0.5, 0.5]]), linear)
    assert isnan(c.mean_divergence)
    assert c.cosine == pytest.approx((-0.5 + 1.5 + 1 + 0.25) / np.sqrt(1 * (1 + 9 + 4 + 0.25)))


def test_compare_of_texts_without_common_word_raises_usage_error() -> None:
    with pytest.raises(UsageError, match="no word in common"):
        compare(maps("a b", [[0.5, 0.5]] * 2), maps("x y z", ONE))


def test_moved_lists_changed_cells_by_descending_magnitude() -> None:
    c = compare(maps("the river bank", ONE), maps("the river bank", TWO))
    result = [(m.row, m.column, round(m.change, 4)) for m in largest_changes(c, 3)]
    assert result[:2] in ([(1, 0, 0.6), (1, 1, -0.6)], [(1, 1, -0.6), (1, 0, 0.6)])
    assert abs(result[2][2]) == pytest.approx(0.1)
    [first, *_] = largest_changes(c, 9)
    assert (first.a, first.b) == pytest.approx(
        (ONE[first.row][first.column], TWO[first.row][first.column])
    )
    assert len(largest_changes(c, 9)) == 4  # the others have not moved


def test_nearest_heads_ranks_by_divergence_and_excludes_head_itself() -> None:
    head = maps("the river bank", ONE)
    near = [[0.5, 0.25, 0.25], [0.15, 0.75, 0.1], [0.2, 0.2, 0.6]]
    several = [maps("the river bank", x, name=n).maps[0] for x, n in
               ((TWO, "L0H1"), (ONE, "L0H0"), (near, "L0H2"))]  # fmt: skip
    result = nearest_heads(head, replace(head, maps=several))
    assert [n.map.name for n in result] == ["L0H2", "L0H1"]
    assert result[1].divergence == compare(head, replace(head, maps=several[:1])).mean_divergence
    elsewhere = replace(head, maps=several, model=replace(INFO, name="other"))
    assert [n.map.name for n in nearest_heads(head, elsewhere)] == ["L0H0", "L0H2", "L0H1"]
    assert nearest_heads(head, elsewhere)[0].divergence == 0.0
