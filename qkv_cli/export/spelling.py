"""How tokenizers spell a text, and from their tokens back to the text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qkv_cli.core.characters import byte_of, characters
from qkv_cli.core.tokens import Token

_BLANK = "\u2581"  # SentencePiece's sign for the blank before a word
_SPECIAL = re.compile(
    r"\[(?:CLS|SEP|PAD|BOS|EOS)\]"
    r"|</?s>|<(?:bos|eo[a-z]|cls|sep|pad|start|end|startoftext|endoftext)>"
    r"|<\|[^<>\s]+\|>|<\uff5c[^<>\s]+\uff5c>"
    r"|<[a-z0-9]+(?:_[a-z0-9]+)+>|<unused\d+>",
    re.IGNORECASE,
)
_LANGUAGE = re.compile(r"__[a-z]{2,3}__|[a-z]{2,3}_(?:[A-Z]{2}|[A-Z][a-z]{3})")
_UNKNOWN = ("[UNK]", "<unk>")
_MASK = re.compile(r"\[MASK\]|<mask>|<extra_id_\d+>")  # written in the place of a word
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which JSON may hold
_CONTINUES, _ENDS, _GOES_ON = "##", "</w>", "@@"  # WordPiece, and byte pairs of two kinds


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's character for each byte: printable bytes as they are, others from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + n): byte for n, byte in enumerate(others)
    }


_BYTES = _byte_alphabet()


@dataclass(frozen=True, slots=True)
class _Part:
    """What one token adds to a text."""

    before: str  # a blank that belongs to no token
    data: bytes


def tokens_of(pieces: Sequence[str]) -> tuple[str, list[Token]]:
    """Return a text that tokens may have come from, and each token with its place in it.

    Args:
        pieces: As a tokenizer spells them. Which kind of tokenizer it was is read off them.
    """
    special = [_is_special(piece, pieces) for piece in pieces]
    words = [piece for piece, is_special in zip(pieces, special, strict=True) if not is_special]
    data, spans = bytearray(), list[tuple[int, int]]()
    parts = iter(_parts(words))
    for is_special in special:
        part = _Part("", b"") if is_special else next(parts)
        data += part.before.encode() if data else b""
        spans.append((len(data), len(data) + len(part.data)))
        data += part.data
    text, places = characters(bytes(data))
    tokens = []
    for i, (piece, (begin, stop)) in enumerate(zip(pieces, spans, strict=True)):
        start = places[begin]
        end = places[stop - 1] + 1 if stop > begin else start
        shown = text[start:end]
        start += len(shown) - len(shown.lstrip()) if shown.strip() else 0
        unknown = piece in _UNKNOWN
        tokens.append(Token(i, text[start:end], piece, i, start, end, special[i], unknown))
    return text, tokens


def _is_special(piece: str, pieces: Sequence[str]) -> bool:
    """Whether a token is of a template: not a byte, nor what stands in the place of a word."""
    if _stands_for_word(piece):
        return False
    if _SPECIAL.fullmatch(piece):
        return True
    return bool(_LANGUAGE.fullmatch(piece)) and any(other.startswith(_BLANK) for other in pieces)


def _stands_for_word(piece: str) -> bool:
    return piece in _UNKNOWN or bool(_MASK.fullmatch(piece))


def _parts(pieces: Sequence[str]) -> list[_Part]:
    if any(piece.startswith(_BLANK) or byte_of(piece) for piece in pieces):
        return _without_first_blank([_of_metaspace(piece) for piece in pieces])
    if _is_byte_level(pieces):
        return _without_first_blank([_of_bytes(piece) for piece in pieces])
    if any(piece.startswith(" ") for piece in pieces):
        return _without_first_blank([_Part("", _encoded(piece)) for piece in pieces])
    if any(_has_end(piece, _ENDS) for piece in pieces):
        return _with_ends(pieces, _ENDS, begins_word=True)
    if any(_has_end(piece, _GOES_ON) for piece in pieces):
        return _with_ends(pieces, _GOES_ON, begins_word=False)
    return [_of_word_piece(piece) for piece in pieces]


def _of_metaspace(piece: str) -> _Part:
    return _Part("", byte_of(piece) or _encoded(piece.replace(_BLANK, " ")))


def _of_bytes(piece: str) -> _Part:
    if _stands_for_word(piece):
        return _Part("", piece.encode())
    return _Part("", bytes(_BYTES[sign] for sign in piece))


def _of_word_piece(piece: str) -> _Part:
    if piece.startswith(_CONTINUES) and piece != _CONTINUES:
        return _Part("", _encoded(piece.removeprefix(_CONTINUES)))
    return _Part(" ", _encoded(piece))


def _is_byte_level(pieces: Sequence[str]) -> bool:
    """Whether these are spelled in GPT-2's byte alphabet, in which a blank is U+0120.

    Without a blank, what is not ASCII must be whole characters of UTF-8, as it hardly ever is by
    chance: an accented letter of Latin-1 is half of one.
    """
    spelled = [piece for piece in pieces if not _stands_for_word(piece)]
    if not all(sign in _BYTES for piece in spelled for sign in piece):
        return False
    if any(piece.startswith(("\u0120", "\u010a")) for piece in spelled):
        return True
    data = b"".join(_of_bytes(piece).data for piece in spelled)
    try:
        return not data.isascii() and bool(data.decode())
    except UnicodeDecodeError:
        return False


def _has_end(piece: str, end: str) -> bool:
    return piece.endswith(end) and piece != end


def _with_ends(pieces: Sequence[str], end: str, *, begins_word: bool) -> list[_Part]:
    """Pieces whose end says whether a word ends there, or that it does not."""
    parts, begins = list[_Part](), False
    for piece in pieces:
        data = piece.removesuffix(end) if _has_end(piece, end) else piece
        parts.append(_Part(" " if begins else "", _encoded(data)))
        begins = _has_end(piece, end) == begins_word
    return parts


def _without_first_blank(parts: list[_Part]) -> list[_Part]:
    """A blank before the first word is the tokenizer's own."""
    if parts and parts[0].data.startswith(b" "):
        parts[0] = _Part("", parts[0].data[1:])
    return parts


def _encoded(text: str) -> bytes:
    return _SURROGATE.sub("\ufffd", text).encode()
