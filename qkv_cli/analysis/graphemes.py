"""Extended grapheme clusters: what a reader takes for one character (Unicode Annex #29)."""

from __future__ import annotations

import re

from tokenizers import Regex, pre_tokenizers

_CLUSTERS = pre_tokenizers.Split(Regex(r"\X"), "isolated")
_SURROGATES = re.compile("[\ud800-\udfff]")
# Rule GB9c of Unicode 15.1, which the regular expression library does not have: in these scripts
# a virama joins the consonants on its two sides. Their blocks have 128 characters in one order.
_VIRAMAS = "\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d"
_BLOCKS = {ord(virama) >> 7 for virama in _VIRAMAS}
_CONSONANTS = {*range(0x15, 0x3A), *range(0x58, 0x60)}


def graphemes(text: str) -> list[int]:
    """Return the number of the grapheme that each character of a text is part of."""
    numbers, number, before = list[int](), -1, ""
    for cluster, _ in _CLUSTERS.pre_tokenize_str(_SURROGATES.sub("\ufffd", text)):
        number += not _are_conjunct(before, cluster)
        numbers += [number] * len(cluster)
        before = cluster
    return numbers


def _are_conjunct(before: str, after: str) -> bool:
    """Whether a virama at the end of one cluster joins it to the consonant of the next."""
    end = before.rstrip("\u200d")
    return end.endswith(tuple(_VIRAMAS)) and _is_consonant(before[0]) and _is_consonant(after[0])


def _is_consonant(char: str) -> bool:
    return ord(char) >> 7 in _BLOCKS and ord(char) & 0x7F in _CONSONANTS
