"""Tokens: their text, id and offsets, and the characters that byte-level tokens spell."""

from __future__ import annotations

import re
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


_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # SentencePiece's piece for a byte


def byte_of(piece: str) -> bytes | None:
    """Return the byte that a piece is the fallback for; None for other pieces."""
    match = _BYTE.fullmatch(piece)
    return bytes([int(match[1], 16)]) if match else None


def characters(data: bytes) -> tuple[str, list[int]]:
    """Return the text of these bytes, and for each byte, and for their end, its character's place.

    A byte that is not part of a character is shown as U+FFFD.
    """
    signs, places, at = list[str](), list[int](), 0
    while at < len(data):
        size = next((n for n in (1, 2, 3, 4) if _is_character(data[at : at + n])), 0)
        signs.append(data[at : at + size].decode() if size else "\ufffd")
        places += [len(signs) - 1] * max(1, size)
        at += max(1, size)
    return "".join(signs), [*places, len(signs)]


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False
