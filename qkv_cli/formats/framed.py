"""A text's pieces between the special tokens that a model was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from qkv_cli.core.tokens import Token, Tokenizer
from qkv_cli.core.writing import Rules


class TargetTokenizer(Tokenizer, Protocol):
    """A tokenizer of what a decoder writes: a text to tokens, and ids to a text."""

    def special(self, id: int) -> Token:
        """A token that stands for no text."""

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        """The text that these ids stand for, and the tokens with their places in it."""


class Splitter(TargetTokenizer, Protocol):
    """What a `Framed` frames."""

    def split(self, text: str) -> list[Token]:
        """The pieces of a text, in order, and nothing around them."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A tokenizer: what its splitter makes of a text, and what stands before and behind.

    A text may begin with the code of a language, which then stands in the place of the usual one.
    """

    splitter: Splitter
    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    codes: Mapping[str, int] = field(default_factory=dict)  # of languages

    def encode(self, text: str) -> list[Token]:
        code, at = self._named(text)
        before, behind = (
            [self.splitter.special(id if code is None else self._in(id, code)) for id in ids]
            for ids in (self.before, self.behind)
        )
        pieces = self.splitter.split(text[at:])
        moved = [replace(p, start=p.start + at, end=p.end + at) for p in pieces]
        return in_order([*before, *moved, *behind])

    def alone(self, text: str) -> int | None:
        """The language that a text names, where it does nothing else."""
        code, at = self._named(text)
        return None if text[at:].strip() else code

    def in_language(self, rules: Rules, code: int) -> Rules:
        """To write in a language: where its code ends a text, a decoder begins with it."""
        ends = any(id in self.codes.values() for id in self.behind)
        return replace(rules, start=code) if ends else replace(rules, first=code)

    def _named(self, text: str) -> tuple[int | None, int]:
        """The language that a text begins with, and where the rest of it does."""
        word = text.split(maxsplit=1)[0] if text.strip() else ""
        if word not in self.codes:
            return None, 0
        return self.codes[word], text.index(word) + len(word)

    def _in(self, id: int, code: int) -> int:
        return code if id in self.codes.values() else id

    def special(self, id: int) -> Token:
        return self.splitter.special(id)

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        return self.splitter.spelled(ids)


def in_order(tokens: Sequence[Token]) -> list[Token]:
    return [replace(token, i=i) for i, token in enumerate(tokens)]
