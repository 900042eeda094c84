"""Which word of one text is which of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from qkv_cli.core.tokens import Token

ONLY_A, ONLY_B, OR = "-", "+", "/"


@dataclass(frozen=True, slots=True)
class Pair:
    """A word of both texts, or of one: its index among the tokens of either."""

    a: int | None
    b: int | None


def align(a: Sequence[Token], b: Sequence[Token], *, one_text: bool) -> list[Pair]:
    """Words that are the same, in order; of the others, as many for as many are taken as pairs.

    So *tired* pairs with *wide* where nothing else differs, and a word that was put in has no
    partner.

    Args:
        one_text: Both are of the same text, so that a word is known by its place in it.
    """
    pairs: list[Pair] = []
    matcher = SequenceMatcher(
        None, [_key(t, one_text) for t in a], [_key(t, one_text) for t in b], autojunk=False
    )
    for _, start_a, end_a, start_b, end_b in matcher.get_opcodes():
        left, right = range(start_a, end_a), range(start_b, end_b)
        if len(left) == len(right):
            pairs += [Pair(i, j) for i, j in zip(left, right, strict=True)]
        else:
            pairs += [Pair(i, None) for i in left]
            pairs += [Pair(None, j) for j in right]
    return pairs


def named(pairs: Sequence[Pair], a: Sequence[Token], b: Sequence[Token]) -> list[Token]:
    """A token for each pair, counted from 0: `tired/wide`, `+very` where only b has it."""
    return [replace(_called(pair, a, b), i=i) for i, pair in enumerate(pairs)]


def _called(pair: Pair, a: Sequence[Token], b: Sequence[Token]) -> Token:
    if pair.a is None or pair.b is None:
        token, sign = (b[pair.b], ONLY_B) if pair.b is not None else (a[pair.a or 0], ONLY_A)
        return replace(token, text=sign + _written(token))
    one, other = a[pair.a], b[pair.b]
    if _key(one, False) == _key(other, False):
        return one
    text = f"{_written(one)}{OR}{_written(other)}"
    return replace(one, text=text, unknown=one.unknown or other.unknown)


def _written(token: Token) -> str:
    return token.word


def _key(token: Token, one_text: bool) -> object:
    """What makes two tokens the same word: its place in one text, else its letters."""
    if token.special:
        return token.token
    if not one_text:
        return token.text.strip().casefold()
    start = token.start + len(token.text) - len(token.text.lstrip())
    return start, start + len(token.text.strip())
