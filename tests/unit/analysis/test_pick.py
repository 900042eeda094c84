"""The tokens that a word or an index selects, also with hidden special tokens."""

from __future__ import annotations

import pytest

from qkv_cli.analysis.focus import pick, same_word
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError

WORDS = ["[CLS]", "The", "bank", "3", "the", "[SEP]"]
TOKENS = [Token(i, "" if w[0] == "[" else w, w, i, i, i, w[0] == "[") for i, w in enumerate(WORDS)]
SHOWN = TOKENS[1:-1]  # the tokens that --hide-special keeps


@pytest.mark.parametrize(
    ("word", "in_all_tokens", "in_shown_tokens"),
    [
        ("bank", [2], [1]),
        ("THE", [1, 4], [0, 3]),
        ("2", [2], [1]),
        ("3", [3], [2]),
        ("=3", [3], [2]),
        ("-1", [5], [3]),
        ("-4", [2], [0]),
        ("[SEP]", [5], None),
        ("5", [5], None),
        ("0", [0], None),
        ("-5", [1], None),
        ("", None, None),
    ],
)
def test_pick_by_word_or_index_returns_positions(
    word: str, in_all_tokens: list[int] | None, in_shown_tokens: list[int] | None
) -> None:
    for tokens, places in ((TOKENS, in_all_tokens), (SHOWN, in_shown_tokens)):
        if places is None:
            with pytest.raises(UsageError, match="neither a word nor an index"):
                pick("query", word, tokens)
        else:
            assert pick("query", word, tokens) == places


def test_pick_with_misspelled_word_lists_words_with_their_indices() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'bank'\? Words: 1 The, 2 bank, 3 3"):
        pick("key", "banc", SHOWN)


def test_same_word_of_number_finds_it_only_among_words() -> None:
    assert same_word("3", SHOWN) == [2]
    assert same_word("2", SHOWN) == [] == same_word("bank", SHOWN)


def test_pick_with_unknown_word_lists_special_tokens_and_separators_by_name() -> None:
    tokens = [*TOKENS, Token(6, "", "\u2581", 6, 6, 6), Token(7, " ", "\u0120", 7, 6, 7)]
    with pytest.raises(UsageError, match=r"0 \[CLS\], 1 The, .* 5 \[SEP\], 6 \u2581, 7 \u0120\."):
        pick("query", "cat", tokens)
    with pytest.raises(UsageError, match=r"Did you mean '\[CLS\]'"):
        pick("query", "[CLSS]", TOKENS)


@pytest.mark.parametrize(("n", "end"), [(40, "39 w39."), (41, "39 w39 and 1 more.")])
def test_pick_with_unknown_word_lists_forty_words_and_counts_the_others(n: int, end: str) -> None:
    tokens = [Token(i, f"w{i}", f"w{i}", i, 0, 0) for i in range(n)]
    with pytest.raises(UsageError) as refused:
        pick("key", "xyz", tokens)
    assert str(refused.value).endswith(f" 38 w38, {end}")
