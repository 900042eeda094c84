"""Graphemes, by the samples and rules of Unicode Annex #29."""

from __future__ import annotations

from itertools import groupby

import pytest

from qkv_cli.maps.merge import graphemes


@pytest.mark.parametrize(
    "clusters",
    [
        ["a", "b", " "],
        ["e\u0301\u0302", "x"],  # GB9: what extends a letter
        ["\r\n", "\n", "\r"],  # GB3, GB4
        ["각", "한"],
        ["\u1112\u1161\u11ab", "g"],  # GB6 to GB8: a syllable of three jamos
        ["நி", "กำ"],  # GB9a: a vowel sign that takes room
        ["\u0600\u0627", "b"],  # GB9b: a number sign before what it counts
        ["क्षि", " "],  # GB9c: a conjunct
        ["क्\u200dष"],
        ["क्", "अ"],  # no consonant follows
        ["ক্ষ", "ક્ષ", "ക്ഷ"],
        ["👩\u200d👩\u200d👧", "👩\u200d🚀"],  # GB11
        ["❤\ufe0f\u200d🔥", "👍🏽"],
        ["🇩🇪", "🇫🇷", "🇮"],  # GB12: flags in pairs
        ["🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "!"],
        ["1\ufe0f\u20e3", "2"],
        ["\ud83d", "x"],  # half a character
    ],
)
def test_graphemes_number_clusters_as_unicode_annex_29(clusters: list[str]) -> None:
    text = "".join(clusters)
    numbers = graphemes(text)
    pairs = groupby(zip(numbers, text, strict=True), key=lambda pair: pair[0])
    assert ["".join(char for _, char in pair) for _, pair in pairs] == clusters
    assert sorted(set(numbers)) == list(range(len(clusters)))


def test_graphemes_of_empty_text_are_empty() -> None:
    assert graphemes("") == []
