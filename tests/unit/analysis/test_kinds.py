"""The keys that each kind of head attends to, by hand."""

from __future__ import annotations

import pytest
from made_heads import Words

from qkv_cli.analysis.measure import NAMES, Targets, is_punctuation
from qkv_cli.core.tokens import Token

TOKENS = Words().encode("a , b a , c")  # [CLS] a , b a , c [SEP]


def keys_of(kind: str, query: int) -> list[int]:
    result = Targets(TOKENS, TOKENS, one_text=True).block(slice(None))[NAMES.index(kind), query]
    return [int(j) for j in result.nonzero()[0]]


@pytest.mark.parametrize(
    ("kind", "query", "keys"),
    [
        ("self", 3, [3]),
        ("previous", 3, [2]),
        ("previous", 0, []),
        ("next", 3, [4]),
        ("next", 7, []),
        ("first", 3, [0]),
        ("first", 0, [0]),
        ("separators", 3, [7]),  # [CLS] is the first token, not counted twice
        ("punctuation", 3, [2, 5]),
        ("duplicate", 1, [4]),
        ("duplicate", 2, [5]),
        ("duplicate", 3, []),
        ("induction", 1, [5]),  # after the other a
        ("induction", 4, [2]),
        ("induction", 2, [6]),
        ("induction", 3, []),
    ],
)
def test_targets_of_each_kind_are_expected_keys(kind: str, query: int, keys: list[int]) -> None:
    assert keys_of(kind, query) == keys


def test_targets_of_induction_exclude_word_that_follows_itself() -> None:
    tokens = Words().encode("a a b")  # [CLS] a a b [SEP]
    result = Targets(tokens, tokens, one_text=True).block(slice(None))[NAMES.index("induction")]
    # The token after the second a is b; the token after the first a is the query itself.
    assert [list(row.nonzero()[0]) for row in result[1:3]] == [[3], []]


def test_targets_of_duplicate_and_induction_exclude_special_tokens() -> None:
    tokens = [Token(i, "", "[SEP]", 2, 0, 0, special=True) for i in range(3)]
    result = Targets(tokens, tokens, one_text=True).block(slice(None))
    assert not result[[NAMES.index("duplicate"), NAMES.index("induction")]].any()


def test_targets_between_two_texts_have_no_relative_kinds() -> None:
    result = Targets(TOKENS[:3], TOKENS, one_text=False).block(slice(None))
    assert result.shape == (len(NAMES), 3, len(TOKENS))
    kinds = {name for name, mask in zip(NAMES, result, strict=True) if mask.any()}
    assert kinds == {"first", "separators", "punctuation"}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [(",", True), (" .", True), ("...", True), ("€", True), ("n't", False), ("3", False)],
)
def test_is_punctuation_accepts_signs_and_symbols_but_not_words(text: str, is_one: bool) -> None:
    assert is_punctuation(Token(0, text, text, 5, 0, len(text))) is is_one


def test_is_punctuation_of_special_token_is_false() -> None:
    assert not is_punctuation(Token(0, "", "[CLS]", 1, 0, 0, special=True))
