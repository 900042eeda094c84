"""Merging sub-words and hiding special tokens, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.merge import merge_words, words
from qkv_cli.maps.selection import hide_special

MODEL = ModelInfo("m", "bert", 1, 1, 4, 4, 9, "made by hand")


def cut(text: str, *pieces: str, specials: bool = True) -> list[Token]:
    """Tokens of these pieces, found in the text one after another."""
    tokens, at = [], 0
    if specials:
        tokens.append(Token(0, "", "[CLS]", 1, 0, 0, special=True))
    for piece in pieces:
        start = text.index(piece, at)
        at = start + len(piece)
        tokens.append(Token(len(tokens), piece, piece, 5, start, at))
    if specials:
        tokens.append(Token(len(tokens), "", "[SEP]", 2, 0, 0, special=True))
    return tokens


def maps(tokens: list[Token], pattern: np.ndarray, text: str = "") -> HeadMaps:
    head = HeadMap("L0H0", "self", 0, 0, pattern, scores=np.log(pattern))
    return HeadMaps(MODEL, "softmax", False, text, None, tokens, tokens, [head])


def test_hide_special_removes_tokens_and_notes_their_weight() -> None:
    tokens = cut("a b", "a", "b")
    pattern = np.array([[1, 0, 0, 0], [0.5, 0.2, 0.2, 0.1], [0.3, 0.3, 0.3, 0.1], [0, 0, 0, 1.0]])
    result = hide_special(maps(tokens, np.maximum(pattern, 1e-9)))
    assert [t.text for t in result.queries] == ["a", "b"]
    np.testing.assert_allclose(result.maps[0].pattern, [[0.2, 0.2], [0.3, 0.3]])
    assert result.notes == (
        "special tokens are hidden; on average they have .50 of each row's weight",
    )


def test_merge_words_mask_is_true_if_any_sub_word_sees_key() -> None:
    """Causal: the first piece of 'river' cannot see the second."""
    tokens = cut("the river", "the", "ri", "ver", specials=False)
    mask = np.tril(np.ones((3, 3), bool))
    head = HeadMap("L0H0", "self", 0, 0, mask / mask.sum(axis=1)[:, None], mask=mask)
    causal_maps = HeadMaps(MODEL, "softmax", True, "the river", None, tokens, tokens, [head])
    assert merge_words(causal_maps).maps[0].mask.tolist() == [[True, False], [True, True]]
    no_self = replace(
        causal_maps, maps=[replace(head, pattern=mask * 0, mask=~np.eye(3, dtype=bool))]
    )
    assert merge_words(no_self).maps[0].mask.tolist() == [[False, True], [True, True]]


def test_hide_special_of_only_special_tokens_raises_usage_error() -> None:
    with pytest.raises(UsageError, match="--hide-special"):
        hide_special(maps(cut(""), np.eye(2) + 0.1))


@pytest.mark.parametrize(
    ("text", "pieces", "expected"),
    [
        ("unhappily so", ["un", "happ", "ily", "so"], [[0, 1, 2], [3]]),
        ("didn't go", ["didn", "'", "t", "go"], [[0, 1, 2], [3]]),
        ("Paris, now", ["Paris", ",", "now"], [[0], [1], [2]]),
        ("'tis 'so'", ["'", "tis", "'", "so", "'"], [[0], [1], [2], [3], [4]]),
        ("the river", ["the", " ri", "ver"], [[0], [1, 2]]),
        ("日本語", ["日本", "語"], [[0], [1]]),
        ("3.5 km", ["3", ".", "5", "km"], [[0], [1], [2], [3]]),
    ],
)
def test_words_groups_sub_words_of_one_word(
    text: str, pieces: list[str], expected: list[list[int]]
) -> None:
    assert words(cut(text, *pieces, specials=False), [text]) == expected


def test_words_groups_bytes_of_one_character() -> None:
    tokens = [Token(i, "🙂", f"b{i}", i, 0, 1) for i in range(3)]
    assert words(tokens, ["🙂"]) == [[0, 1, 2]]
    result = merge_words(maps(tokens, np.full((3, 3), 1 / 3), "🙂"))
    assert result.queries[0].text == "🙂"


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("ok 👍🏽", [(0, 2), (3, 4), (4, 5)], ["ok", "👍🏽"]),
        ("👩\u200d🚀!", [(0, 1), (1, 2), (2, 3), (3, 4)], ["👩\u200d🚀", "!"]),
        ("👩\u200d🚀!", [(0, 1), (2, 3), (3, 4)], ["👩\u200d🚀", "!"]),  # the joiner was dropped
        ("🇩🇪🇫🇷", [(0, 1), (1, 2), (2, 3), (3, 4)], ["🇩🇪", "🇫🇷"]),
        ("1\ufe0f\u20e3 2", [(0, 1), (1, 3), (4, 5)], ["1\ufe0f\u20e3", "2"]),
        ("+\u0301=", [(0, 1), (1, 2), (2, 3)], ["+\u0301", "="]),
        ("(e\u0301)", [(0, 1), (1, 2), (2, 3), (3, 4)], ["(", "e\u0301", ")"]),
        ("క్\u200dష", [(0, 1), (1, 2), (2, 3), (3, 4)], ["క్\u200dష"]),
        ("🙂🙂", [(0, 1), (0, 2), (1, 2)], ["🙂🙂"]),  # a piece of both
        ("caf\u00e9 au", [(0, 3), (3, 4), (3, 4), (5, 7)], ["café", "au"]),
        ("a\r\nb", [(0, 1), (1, 2), (2, 3), (3, 4)], ["a", "\r\n", "b"]),
        ("a b", [(0, 1), (2, 3)], ["a", "b"]),
    ],
)
def test_merge_words_does_not_split_grapheme_clusters(
    text: str, spans: list[tuple[int, int]], expected: list[str]
) -> None:
    tokens = [Token(i, text[a:b], text[a:b], i, a, b) for i, (a, b) in enumerate(spans)]
    result = merge_words(maps(tokens, np.full((len(spans),) * 2, 1 / len(spans)), text))
    assert [token.text for token in result.queries] == expected


def test_words_adds_lone_separator_to_following_word() -> None:
    tokens = [Token(0, "", "\u2581", 5, 0, 0), *cut("İs b", "İ", "s", "b", specials=False)]
    assert words(tokens, ["İs b"]) == [[0, 1, 2], [3]]
    special = [Token(0, "", "<s>", 1, 0, 0, special=True), *tokens]
    assert words(special, ["İs b"]) == [[0], [1, 2, 3], [4]]
    result = merge_words(maps(tokens, np.full((4, 4), 0.25), "İs b"))
    assert [(t.text, t.start, t.end) for t in result.queries] == [("İs", 0, 2), ("b", 3, 4)]


def test_words_and_merge_words_treat_segments_and_source_separately() -> None:
    tokens = [
        *cut("ab 👍", "a", "b", "👍", specials=False),
        Token(3, "🏽", "🏽", 9, 0, 1, segment=1),
    ]
    assert words(tokens, ["ab 👍", "🏽"]) == [[0, 1], [2], [3]]
    queries, keys = cut("x y", "x", "y", specials=False), cut("👍🏽", "👍", "🏽", specials=False)
    head = HeadMap("L0H0", "cross", 0, 0, np.array([[0.25, 0.75], [0.5, 0.5]]))
    cross = HeadMaps(MODEL, "softmax", False, "x y", "👍🏽", queries, keys, [head])
    result = merge_words(cross)
    assert [token.text for token in result.keys] == ["👍🏽"]
    np.testing.assert_allclose(result.maps[0].pattern, [[1], [1]])


def test_merge_words_sums_keys_and_averages_queries() -> None:
    tokens = cut("unhappy me", "un", "happy", "me", specials=False)
    pattern = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])
    result = merge_words(maps(tokens, pattern))
    assert [(t.text, t.i) for t in result.queries] == [("unhappy", 0), ("me", 1)]
    np.testing.assert_allclose(
        result.maps[0].pattern, [[(0.5 + 0.8) / 2, (0.5 + 0.2) / 2], [0.2, 0.8]], rtol=1e-6
    )
    assert result.maps[0].scores is None
    assert "keys are summed, queries averaged" in result.notes[0]


def test_merge_words_and_hide_special_without_effect_return_same_object() -> None:
    unmerged = maps(cut("a b", "a", "b", specials=False), np.full((2, 2), 0.5))
    assert merge_words(unmerged) is unmerged
    assert hide_special(unmerged) is unmerged
