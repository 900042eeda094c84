"""Splitting a text into words with offsets, and searching the list of words."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.core.tokens import Token
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.tokenizers.words import (
    WordTokenizer,
    build_splitter,
    find_cut_words,
    pack_words,
    unpack_words,
)

KNOWN = ["the", "did", "n't", "she", "'s", "can", "not", "--", "café", "u.s.", "étude", "dog"]


def tokenizer(words: list[str] = KNOWN, *, lowercase: bool = True) -> WordTokenizer:
    return WordTokenizer(build_splitter(lowercase=lowercase), unpack_words(pack_words(words)))


def joining(words: list[str]) -> WordTokenizer:
    """As folders are written now: words are looked up as written first, the longest one wins."""
    packed, split = pack_words(words), build_splitter(lowercase=True)
    cut = find_cut_words(split, words, packed["words.order"])
    return WordTokenizer(split, unpack_words(packed), cut)


def texts(text: str) -> list[str]:
    return [token.text for token in tokenizer().encode(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The mango, and the apple.", "The mango , and the apple ."),
        ("She didn't; they won't, he CAN'T", "She did n't ; they wo n't , he CA N'T"),
        ("cannot canned", "can not canned"),
        ("it's John's; we've, they're", "it 's John 's ; we 've , they 're"),
        ("I'll you'd I'm", "I 'll you 'd I 'm"),
        ("mother-in-law's dogs' o'clock", "mother-in-law 's dogs ' o'clock"),
        ("She didn’t — it’s", "She did n’t — it ’s"),
        ("“so” ‘so’", "“ so ” ‘ so ’"),
        ("the U.S. and u.k. now.", "the U.S. and u.k. now ."),
        ("$1,000.50 at 10:30, 3.5% on 1/2/99.", "$ 1,000.50 at 10:30 , 3.5 % on 1/2/99 ."),
        ("a 20-year 3rd 7th", "a 20-year 3rd 7th"),
        ("wait... no -- yes", "wait ... no -- yes"),
        ("(x[i]*2)", "( x [ i ] * 2 )"),
        ("snake_case a@b", "snake_case a @ b"),
        ("", ""),
        (" \t\n ", ""),
    ],
)
def test_word_tokenizer_splits_as_penn_treebank(text: str, expected: str) -> None:
    assert texts(text) == expected.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("café e\u0301tude cafe\u0301", ["café", "e\u0301tude", "cafe\u0301"]),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8 a", ["\u1112\u1161\u11ab\u1100\u116e\u11a8", "a"]),
        ("tea☕ 👩\u200d👩\u200d👧🇧🇷👍🏽", ["tea", "☕", "👩\u200d👩\u200d👧", "🇧🇷", "👍🏽"]),
        ("❤\ufe0f", ["❤\ufe0f"]),
        ("word שלום, سلام", ["word", "שלום", ",", "سلام"]),
        ("नमस्ते", ["नमस्ते"]),
        ("中文 한국 ｆｕｌｌ", ["中文", "한국", "ｆｕｌｌ"]),
        ("a\x1b[31mred", ["a", "\x1b", "[", "31mred"]),
        ("nul\x00nul", ["nul", "\x00", "nul"]),
    ],
)
def test_word_tokenizer_keeps_grapheme_clusters_of_any_script_whole(
    text: str, expected: list[str]
) -> None:
    assert texts(text) == expected


def test_word_tokenizer_tokens_have_spelling_id_and_offsets() -> None:
    encoded = tokenizer().encode("The CAFÉ didn’t 👍🏽 — U.S. e\u0301tude")
    assert encoded == [
        Token(0, "The", "the", 0, 0, 3),
        Token(1, "CAFÉ", "café", 8, 4, 8),
        Token(2, "did", "did", 1, 9, 12),
        Token(3, "n’t", "n't", 2, 12, 15),
        Token(4, "👍🏽", "👍🏽", 12, 16, 18, unknown=True),
        Token(5, "—", "--", 7, 19, 20),
        Token(6, "U.S.", "u.s.", 9, 21, 25),
        Token(7, "e\u0301tude", "étude", 10, 26, 32),
    ]


def test_word_tokenizer_without_lowercase_distinguishes_case() -> None:
    encoded = tokenizer(["Dog", "dog"], lowercase=False).encode("Dog dog DOG")
    assert [(t.token, t.id, t.unknown) for t in encoded] == [
        ("Dog", 0, False),
        ("dog", 1, False),
        ("DOG", 2, True),
    ]


def test_word_tokenizer_with_saved_splitter_gives_same_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    build_splitter(lowercase=True).save(str(path))
    opened = WordTokenizer.open(path, unpack_words(pack_words(KNOWN)))
    text = "She didn’t — cannot 👍🏽, U.S."
    assert opened.encode(text) == tokenizer().encode(text)


@given(st.text())
def test_word_tokenizer_of_any_text_omits_only_white_space(text: str) -> None:
    end = 0
    for i, token in enumerate(tokenizer().encode(text)):
        assert token.i == i
        assert end <= token.start < token.end <= len(text)
        assert token.text == text[token.start : token.end]
        assert not text[end : token.start].strip()
        end = token.end
    assert not text[end:].strip()


@given(st.text(st.sampled_from("aé\u0301'nt’s.-1 👍🏽\u200dש中한"), max_size=20))
def test_word_tokenizer_gives_composed_and_decomposed_text_same_words(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert [t.token for t in tokenizer().encode(composed)] == [
        t.token for t in tokenizer().encode(decomposed)
    ]


@given(st.lists(st.text(), unique=True), st.text())
def test_word_list_finds_every_word_and_no_other(words: list[str], query: str) -> None:
    packed = unpack_words(pack_words(words))
    assert list(packed) == words
    assert [packed.find(word) for word in words] == list(range(len(words)))
    assert packed.find(query) == (words.index(query) if query in words else None)


def test_unpack_words_with_missing_tensor_names_it() -> None:
    tensors = pack_words(KNOWN)
    del tensors["words.order"]
    with pytest.raises(CheckpointError, match=r"no tensor 'words\.order'"):
        unpack_words(tensors)


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (
            ["the", "bank", "“", "—", "’s", "cafe\u0301", "<user>", "c++"],
            "“the cafe\u0301 — bank’s <user> c++",
            ["“", "the", "cafe\u0301", "—", "bank", "’s", "<user>", "c++"],
        ),
        (["the", "river", "bank", "É"], "The River BANK É", ["the", "river", "bank", "É"]),
        (["The", "the", "RIVER"], "The the THE RIVER", ["The", "the", "the", "RIVER"]),
        (["'s", "--", '"', "it"], "“It’s”—", ['"', "it", "'s", '"', "--"]),
        (["“", '"', "’s", "'s"], "“ \" ’s 's", ["“", '"', "’s", "'s"]),
        (["café"], "cafe\u0301 CAFÉ", ["café", "café"]),
        (["cafe\u0301"], "café Café", ["cafe\u0301", "cafe\u0301"]),
        (["c", "+", "c++"], "(c++) c+ C++", ["(", "c++", ")", "c", "+", "c++"]),
        (["New York", "new", "york"], "New York, new\n York", ["New York", ",", "new", "york"]),
        ([". . .", "."], "a . . . b . .", ["a", ". . .", "b", ".", "."]),
        (["don't", "do", "n't"], "Don’t don't", ["don't", "don't"]),
        (["did", "n't"], "Didn’t", ["did", "n't"]),
        (["</s>", "<unk>", "-lrb-", "@x", "#y"], "</s> <unk> -LRB- @x #y", None),
        (["İstanbul", "straße", "οδος"], "İstanbul STRAßE ΟΔΟΣ", ["İstanbul", "straße", "οδος"]),
        (["中文", "👍🏽", "1 2 3", "3.5", "1,000"], "中文 👍🏽 1 2 3 3.5 1,000", None),
        (["a\u00a0b", "c\u2028d"], "a\u00a0b c\u2028d", ["a\u00a0b", "c\u2028d"]),
    ],
)
def test_word_tokenizer_looks_up_written_then_normalized_then_lower_case_form(
    words: list[str], text: str, expected: list[str] | None
) -> None:
    opened = joining(words)
    pieces = [token.token for token in opened.encode(text)]
    assert pieces == (words if expected is None else expected)
    expected_ids = [words.index(word) if word in words else len(words) for word in pieces]
    assert [token.id for token in opened.encode(text)] == expected_ids == next(opened.ids([text]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. No met no. 7", ["dr.", "no", "met", "no.", "7"]),
        ("He said no.", ["he", "said", "no", "."]),
        ("He said “no.”\nDr. No.", ["he", "said", "“", "no", ".", "”", "dr.", "no", "."]),
        ("no.", ["no."]),
        ("a Ph.D.", ["a", "Ph.D."]),
        ("see fig.", ["see", "fig."]),
    ],
)
def test_word_tokenizer_separates_full_stop_at_end_of_line(text: str, expected: list[str]) -> None:
    """`no.`, number, is not the end of a sentence; `fig` alone is not in the vocabulary."""
    words = ["dr.", "no.", "no", ".", "he", "said", "met", "7", "a", "ph", "Ph.D.", "see", "fig."]
    opened = joining([*words, "“", "”"])
    assert [token.token for token in opened.encode(text)] == expected


@given(st.lists(st.text(min_size=1).filter(lambda w: w == w.strip()), unique=True))
def test_word_tokenizer_with_cut_words_finds_every_word_of_vocabulary(words: list[str]) -> None:
    opened = joining(words)
    for i, word in enumerate(words):
        assert [token.id for token in opened.encode(word)] == [i]
        assert list(opened.ids([word])) == [[i]]


@given(st.text())
def test_word_tokenizer_with_cut_words_keeps_tokens_in_order(text: str) -> None:
    end, words = 0, ["c++", "New York", ". . .", "don't", "a.", "é"]
    for i, token in enumerate(joining(words).encode(f"{text} {' '.join(words)} {text}")):
        assert (token.i, token.start >= end) == (i, True)
        end = token.end


def test_word_tokenizer_reads_long_text_in_linear_time() -> None:
    words = ["a b c d e f g h", "a", "b"]
    assert len(joining(words).encode("a b " * 20_000)) == 40_000
