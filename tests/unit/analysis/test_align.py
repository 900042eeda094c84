"""Which word of one text is which of another, told by hand."""

from __future__ import annotations

import pytest

from qkv_cli.analysis.compare import align, name_pairs
from qkv_cli.core.tokens import Token


def tokens(text: str, *, special: bool = False) -> list[Token]:
    result: list[Token] = []
    for word in text.split():
        start = text.index(word, result[-1].end if result else 0)
        result.append(Token(len(result), word, word, 5, start, start + len(word)))
    if special:
        cls = Token(0, "", "[CLS]", 1, 0, 0, special=True)
        result = [cls, *result]
    return result


def told(one: str, other: str, *, one_text: bool = False) -> list[str]:
    a, b = tokens(one), tokens(other)
    return [t.text for t in name_pairs(align(a, b, one_text=one_text), a, b)]


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("the river bank", "the river bank", ["the", "river", "bank"]),
        ("the river bank", "the muddy river bank", ["the", "+muddy", "river", "bank"]),
        ("the muddy river bank", "the river bank", ["the", "-muddy", "river", "bank"]),
        ("too tired", "too wide", ["too", "tired/wide"]),
        ("The bank", "the bank", ["The", "bank"]),
        ("a b c d", "a x d", ["a", "-b", "-c", "+x", "d"]),
        ("a b c", "x y z", ["a/x", "b/y", "c/z"]),
    ],
)
def test_align_pairs_equal_words_and_marks_insertions_and_replacements(
    one: str, other: str, words: list[str]
) -> None:
    assert told(one, other) == words


def test_align_of_one_text_pairs_tokens_by_offsets() -> None:
    """The same word twice, and one side has cut a hyphen off: what overlaps is no partner."""
    a = [Token(0, "a", "a", 1, 0, 1), Token(1, "a-b", "a-b", 2, 2, 5), Token(2, "a", "a", 1, 6, 7)]
    b = [
        Token(0, "a", "a", 1, 0, 1),
        Token(1, "a", "a", 1, 2, 3),
        Token(2, "-", "-", 3, 3, 4),
        Token(3, "b", "b", 4, 4, 5),
        Token(4, " a", " a", 1, 5, 7),  # byte pairs carry the space
    ]
    pairs = [(p.a, p.b) for p in align(a, b, one_text=True)]
    assert pairs == [(0, 0), (1, None), (None, 1), (None, 2), (None, 3), (2, 4)]


def test_align_pairs_special_tokens_by_name() -> None:
    a, b = tokens("the bank", special=True), tokens("the bank", special=True)
    assert [(p.a, p.b) for p in align(a, b, one_text=True)] == [(0, 0), (1, 1), (2, 2)]
    c = tokens("the bank")
    result = align(a, c, one_text=True)
    assert [(p.a, p.b) for p in result] == [(0, None), (1, 0), (2, 1)]
    assert [t.text for t in name_pairs(result, a, c)] == ["-[CLS]", "the", "bank"]


def test_named_numbers_tokens_consecutively() -> None:
    a, b = tokens("the river bank"), tokens("the very muddy river bank")
    result = name_pairs(align(a, b, one_text=False), a, b)
    assert [t.i for t in result] == [0, 1, 2, 3, 4]


def test_named_keeps_unknown_flag_of_replaced_word() -> None:
    a, b = tokens("zzyx"), tokens("bank")
    a = [Token(0, "zzyx", "[UNK]", 9, 0, 4, unknown=True)]
    [name] = name_pairs(align(a, b, one_text=False), a, b)
    assert (name.text, name.unknown) == ("zzyx/bank", True)
