"""What a model reads: tokens that know where in the text they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Token:
    """One token of one text, or of a pair. Offsets are in characters of its own text."""

    i: int
    text: str  # the characters it stands for, as they were written
    token: str  # as the vocabulary spells it
    id: int
    start: int
    end: int
    special: bool = False  # added by the tokenizer's template
    unknown: bool = False  # the vocabulary has no vector for it
    segment: int = 0  # which text of a pair it is of

    @property
    def name(self) -> str:
        """What to call it: its text, or as the vocabulary spells it where it has none."""
        return self.text or self.token

    @property
    def word(self) -> str:
        """The same without blanks around it; a token of blanks alone is called as it is spelled."""
        return self.text.strip() or self.token


class Tokenizer(Protocol):
    def encode(self, text: str) -> list[Token]:
        """The tokens of a text, in order."""
