"""From the bytes of tokens to the characters of a text, and which byte is part of which."""

from __future__ import annotations

import re

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # SentencePiece's piece for a byte


def byte_of(piece: str) -> bytes | None:
    """Return the byte that a piece is the fallback for; None for other pieces."""
    found = _BYTE.fullmatch(piece)
    return bytes([int(found[1], 16)]) if found else None


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
