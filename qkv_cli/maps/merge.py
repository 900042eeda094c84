"""Head maps with sub-words merged into words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, pre_tokenizers

from qkv_cli.core.arrays import Array, Rows
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import FIELDS, HeadMap, HeadMaps
from qkv_cli.maps.matrix import LazyMatrix, Matrix, apply_rows

_CLUSTERS = pre_tokenizers.Split(Regex(r"\X"), "isolated")
_SURROGATES = re.compile("[\ud800-\udfff]")
# Rule GB9c of Unicode 15.1, which the regex library lacks: in these scripts, a virama joins the
# consonants on both sides. Their blocks have 128 characters in the same order.
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


_INSIDE = "'\u2019"  # an apostrophe between letters is part of a word


def merge_words(maps: HeadMaps) -> HeadMaps:
    """Merge sub-words into words: weight to a word is summed, weight from a word is averaged
    (Clark et al. 2019, "What Does BERT Look At?", section 4.1); norms and rollout likewise. A word
    sees another if one of its tokens sees one of the other's.

    Raises:
        UsageError: Scores are shown, whose sum has no meaning.
    """
    if maps.shown == "scores":
        raise UsageError(
            "Scores of sub-words cannot be merged into words: their sum has no meaning."
        )
    texts = (maps.text, maps.pair or "")
    # A decoder's self-attention has a source, but its keys are not from it.
    one_text = maps.source is None or maps.keys == maps.queries
    sources = texts if one_text else (maps.source or "",)
    rows, columns = words(maps.queries, texts), words(maps.keys, sources)
    if len(rows) == len(maps.queries) and len(columns) == len(maps.keys):
        return maps

    def merged_map(m: HeadMap) -> HeadMap:
        fields: dict[str, Any] = {
            name: _merged(getattr(m, name), rows, columns)
            for name in {"pattern", FIELDS[maps.shown]}
        }
        mask = apply_rows(lambda sums: sums > 0, _merged(m.mask, rows, columns))
        return HeadMap(name=m.name, block=m.block, layer=m.layer, head=m.head, **fields, mask=mask)

    note = "sub-words are merged into words: keys are summed, queries averaged"
    return replace(
        maps,
        queries=[_word(maps.queries, group, i, texts) for i, group in enumerate(rows)],
        keys=[_word(maps.keys, group, j, sources) for j, group in enumerate(columns)],
        maps=[merged_map(m) for m in maps.maps],
        notes=(*maps.notes, note),
    )


def _merged(
    matrix: Matrix, rows: Sequence[Sequence[int]], columns: Sequence[Sequence[int]]
) -> Matrix:
    """Return the mean over the queries and the sum over the keys of each word.

    Args:
        rows, columns: The tokens of each word, which follow each other.
    """
    n_query, n_key = matrix.shape
    if not isinstance(matrix, LazyMatrix):
        by_row = np.stack([_indicator(group, n_query) / len(group) for group in rows])
        by_column = np.stack([_indicator(group, n_key) for group in columns])
        return by_row @ matrix @ by_column.T
    row_starts = np.array([group[0] for group in rows] + [n_query])
    column_starts = [group[0] for group in columns]
    sizes = np.array([len(group) for group in rows], np.float32)

    def read(words: Rows) -> NDArray[Any]:
        if not isinstance(words, slice):
            return np.concatenate([read(slice(i, i + 1)) for i in words])
        if words.start >= words.stop:
            return np.zeros((0, len(columns)), np.float32)
        first, last = row_starts[words.start], row_starts[words.stop]
        tokens = matrix[first:last].astype(np.float32)
        by_key = np.add.reduceat(tokens, column_starts, axis=1)
        sums = np.add.reduceat(by_key, row_starts[words] - first, axis=0)
        return sums / sizes[words, None]

    return LazyMatrix((len(rows), len(columns)), read)


def words(tokens: Sequence[Token], texts: Sequence[str]) -> list[list[int]]:
    """Return the groups of tokens that form a word, in order.

    Args:
        texts: The text of the tokens, or the two of a pair.
    """

    clusters = [graphemes(text) for text in texts]
    groups: list[list[int]] = []
    for i, token in enumerate(tokens):
        if i and _is_same_word(tokens, groups[-1], i, clusters[token.segment]):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _is_same_word(
    tokens: Sequence[Token], group: Sequence[int], i: int, clusters: Sequence[int]
) -> bool:
    """Whether a token continues the word of a group of tokens."""
    last, current = tokens[i - 1], tokens[i]
    if last.segment != current.segment or last.special or current.special:
        return False
    if not last.text:  # a separator starts the word after it
        return last.start == last.end == current.start and bool(current.text)
    begin, end = tokens[group[0]].start, max(tokens[j].end for j in group)
    if begin <= current.start < end:
        return True  # pieces of one character
    # Between two tokens of a grapheme, the tokenizer may have dropped a character.
    if end > begin and clusters[end - 1 : end] == clusters[current.start : current.start + 1] != []:
        return True
    return bool(current.text) and _continues(tokens, i)


def _continues(tokens: Sequence[Token], i: int) -> bool:
    """Whether a token continues the letters or digits before it."""
    last, current = tokens[i - 1], tokens[i]
    if current.start != last.end or last.special or not last.text:
        return False
    if current.text in _INSIDE and i + 1 < len(tokens):
        after = tokens[i + 1]
        return _in_word(last.text[-1]) and after.start == current.end and _in_word(after.text[:1])
    if last.text in _INSIDE and i > 1:
        return _continues(tokens, i - 1) and _in_word(current.text[0])
    return _in_word(last.text[-1]) and _in_word(current.text[0])


def _in_word(sign: str) -> bool:
    """Whether a character is a letter, mark or digit of a script with spaces between words."""
    if not sign:
        return False
    wide = unicodedata.east_asian_width(sign) in "WF"
    return unicodedata.category(sign)[0] in "LMN" and not wide


def _word(tokens: Sequence[Token], group: Sequence[int], i: int, texts: Sequence[str]) -> Token:
    pieces = [tokens[j] for j in group]
    first, source = pieces[0], texts[pieces[0].segment]
    if len(group) == 1:
        return replace(first, i=i)
    text, end = "", first.start
    for piece in pieces:
        if piece.end > end:  # tokens of one character share its text
            text += source[end : piece.start] + piece.text[max(0, end - piece.start) :]
            end = piece.end
    unknown = any(piece.unknown for piece in pieces)
    return replace(first, i=i, text=text, token=text, end=end, unknown=unknown)


def _indicator(group: Sequence[int], n: int) -> Array:
    row = np.zeros(n, np.float32)
    row[list(group)] = 1
    return row
