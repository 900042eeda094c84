"""A text's pieces between the special tokens that a model was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from qkv_cli.core.tokens import Token, Tokenizer


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
    """A tokenizer: what its splitter makes of a text, and what stands before and behind."""

    splitter: Splitter
    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()

    def encode(self, text: str) -> list[Token]:
        before, behind = (map(self.splitter.special, ids) for ids in (self.before, self.behind))
        return in_order([*before, *self.splitter.split(text), *behind])

    def special(self, id: int) -> Token:
        return self.splitter.special(id)

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        return self.splitter.spelled(ids)


def in_order(tokens: Sequence[Token]) -> list[Token]:
    return [replace(token, i=i) for i, token in enumerate(tokens)]
