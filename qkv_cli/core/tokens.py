"""Tokens: their text, id and offsets, and the characters that byte-level tokens spell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a text or of a pair. Offsets are in characters of its own text."""

    i: int
    text: str  # the characters that it represents, as written
    token: str  # its spelling in the vocabulary
    id: int
    start: int
    end: int
    special: bool = False  # added by the tokenizer
    unknown: bool = False  # not in the vocabulary
    segment: int = 0  # which text of a pair it belongs to

    @property
    def name(self) -> str:
        """Its text, or its spelling in the vocabulary if it has no text."""
        return self.text or self.token

    @property
    def word(self) -> str:
        """Its name without surrounding blanks; a token of blanks keeps its spelling."""
        return self.text.strip() or self.token


class Tokenizer(Protocol):
    def encode(self, text: str) -> list[Token]:
        """Return the tokens of a text, in order."""


BLANK = "\u2581"  # SentencePiece's character for a space
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # SentencePiece's spelling of a byte


def byte_of(piece: str) -> bytes | None:
    """Return the byte that a piece such as <0xC3> represents; None for other pieces."""
    match = _BYTE.fullmatch(piece)
    return bytes([int(match[1], 16)]) if match else None


def characters(data: bytes) -> tuple[str, list[int]]:
    """Decode bytes; also return the index of each byte's character, and of the end.

    A byte that is not part of a character is shown as U+FFFD.
    """
    chars, char_indices, at = list[str](), list[int](), 0
    while at < len(data):
        size = next((n for n in (1, 2, 3, 4) if _is_character(data[at : at + n])), 0)
        chars.append(data[at : at + size].decode() if size else "\ufffd")
        char_indices += [len(chars) - 1] * max(1, size)
        at += max(1, size)
    return "".join(chars), [*char_indices, len(chars)]


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False
