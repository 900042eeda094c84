"""How SentencePiece splits what is written: the likeliest pieces, or merges by rank.

As sentencepiece does it, ties among them: src/unigram_model.cc (EncodeOptimized; Kudo 2018, arXiv
1804.10959) and src/bpe_model.cc (Sennrich et al. 2016, arXiv 1508.07909).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_UNKNOWN_COSTS = 10.0  # more than the unlikeliest piece


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The pieces that a text may be split into."""

    scores: Mapping[str, float]
    whole: tuple[str, ...]  # the user's own, never split, longest first
    unused: frozenset[str]  # known, but split again
    lowest: float  # of the scores that were learned
    highest: float
    longest: int  # letters


def likeliest(text: str, lexicon: Lexicon) -> list[str]:
    """The pieces whose scores add up to the most; a letter that has none stands for itself."""
    scores = lexicon.scores
    best: list[np.float32 | None] = [np.float32(0), *[None] * len(text)]
    came_from = [0] * (len(text) + 1)
    for start in range(len(text)):
        so_far, alone = best[start], False
        assert so_far is not None
        for end in range(start + 1, min(start + lexicon.longest, len(text)) + 1):
            piece = text[start:end]
            if piece not in scores or piece in lexicon.unused:
                continue
            score = scores[piece]
            if piece in lexicon.whole:
                score = len(piece.encode()) * lexicon.highest - 0.1
            alone = alone or end == start + 1
            _better(best, came_from, start, end, so_far + np.float32(score))
        if not alone:
            unknown = so_far + np.float32(lexicon.lowest - _UNKNOWN_COSTS)
            _better(best, came_from, start, start + 1, unknown)
    pieces, end = list[str](), len(text)
    while end > 0:
        pieces.append(text[came_from[end] : end])
        end = came_from[end]
    return pieces[::-1]


def _better(
    best: list[np.float32 | None], came_from: list[int], start: int, end: int, score: np.float32
) -> None:
    known = best[end]
    if known is None or score > known:
        best[end], came_from[end] = score, start


def merged(text: str, lexicon: Lexicon) -> list[str]:
    """Letters, the two neighbours joined that make the best piece, until none do."""
    scores = lexicon.scores
    symbols = _letters(text, lexicon.whole)
    frozen = [symbol in lexicon.whole for symbol in symbols]
    left, right = list(range(-1, len(symbols) - 1)), list(range(1, len(symbols) + 1))
    agenda = list[tuple[float, int, int, str]]()
    parts = dict[str, tuple[str, str]]()

    def pair(i: int, j: int) -> None:
        if i < 0 or j >= len(symbols) or frozen[i] or frozen[j]:
            return
        both = symbols[i] + symbols[j]
        if both in scores:
            heapq.heappush(agenda, (-scores[both], i, j, both))
            if both in lexicon.unused:
                parts[both] = symbols[i], symbols[j]

    for i in range(len(symbols) - 1):
        pair(i, i + 1)
    while agenda:
        _, i, j, both = heapq.heappop(agenda)
        if not symbols[i] or not symbols[j] or symbols[i] + symbols[j] != both:
            continue
        symbols[i], symbols[j] = both, ""
        right[i] = right[j]
        if right[j] < len(symbols):
            left[right[j]] = i
        pair(left[i], i)
        pair(i, right[i])
    return [piece for symbol in symbols if symbol for piece in _split_again(symbol, parts)]


def _letters(text: str, whole: Sequence[str]) -> list[str]:
    found, at = list[str](), 0
    while at < len(text):
        found.append(next((w for w in whole if text.startswith(w, at)), text[at]))
        at += len(found[-1])
    return found


def _split_again(piece: str, parts: Mapping[str, tuple[str, str]]) -> list[str]:
    if piece not in parts:
        return [piece]
    return [small for part in parts[piece] for small in _split_again(part, parts)]
