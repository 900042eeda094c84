"""The sample texts match the description in their README."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from qkv_cli.formats.tokenizers.words import WordTokenizer, build_splitter, pack_words, unpack_words
from qkv_cli.names import DEFAULT_MODEL
from qkv_cli.session.load import load
from qkv_cli.store.catalogue import find

FOLDER = Path(__file__).parents[2] / "sample_texts"
ENGLISH = [
    "fruits",
    "two_banks",
    "pronoun",
    "garden_path",
    "repeated",
    "attachment",
    "negation",
    "numbers",
    "translation_en",
    "prose",
]


def read(name: str) -> str:
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_sample_texts_readme_describes_exactly_existing_texts() -> None:
    described = re.findall(r"`(\w+\.txt)`", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert sorted(set(described)) == sorted(path.name for path in FOLDER.glob("*.txt"))


def test_sample_texts_end_in_one_line_feed() -> None:
    for path in FOLDER.glob("*.txt"):
        data = path.read_bytes()
        assert data.endswith(b"\n") and not data.endswith(b"\n\n") and b"\r" not in data, path.name


def test_embedded_vocabulary_covers_english_sample_texts() -> None:
    tokenizer = load(find(DEFAULT_MODEL)).tokenizer
    is_known = [not token.unknown for name in ENGLISH for token in tokenizer.encode(read(name))]
    assert len(is_known) > 700
    assert np.mean(is_known) >= 0.98


def test_sample_prose_has_more_than_400_words() -> None:
    split = WordTokenizer(build_splitter(lowercase=True), unpack_words(pack_words(["the"])))
    assert len(split.encode(read("prose"))) > 400


@pytest.mark.parametrize(("name", "n_lines"), [("two_banks", 2), ("pronoun", 2), ("attachment", 2)])
def test_sample_pairs_have_two_different_lines(name: str, n_lines: int) -> None:
    lines = read(name).splitlines()
    assert len(lines) == len(set(lines)) == n_lines


def test_sample_texts_contain_combining_wide_and_right_to_left_characters() -> None:
    accents, wide = read("accents_and_emoji"), read("right_to_left_and_wide")
    assert any(unicodedata.combining(c) for c in accents)
    assert "\u200d" in accents and "\U0001f3fd" in accents  # joined emoji, a skin tone
    assert {unicodedata.bidirectional(c) for c in wide} >= {"R", "AL"}
    assert {unicodedata.east_asian_width(c) for c in wide} >= {"W", "F"}
