"""Translators' tokenizers that keep a SentencePiece model to split, and ids of their own to count.

A piece that the vocabulary lacks is unknown, however well the model knows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from qkv_cli.core.characters import byte_of, characters
from qkv_cli.core.tokens import Token
from qkv_cli.formats.charsmap import BLANK
from qkv_cli.formats.framed import in_order
from qkv_cli.formats.pieces import blanks, places
from qkv_cli.formats.sentencepiece import SentencePieces

_CODE = re.compile(r">>.*?<<")  # Marian's name for the language to translate into, such as >>fra<<


@dataclass(frozen=True, slots=True)
class Spelled:
    pieces: SentencePieces
    ids: Mapping[str, int]  # of pieces and of special tokens
    unknown: int
    specials: frozenset[str]  # what is a token wherever a text has it
    coded: bool = False  # whether a text may begin with the code of a language
    names: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", {id: piece for piece, id in self.ids.items()})

    def encode(self, text: str) -> list[Token]:
        return in_order(self.split(text))

    def split(self, text: str) -> list[Token]:
        tokens = list[Token]()
        for part, at in self._parts(text):
            if part in self.specials:
                id = self.ids.get(part, self.unknown)
                tokens.append(Token(0, part, part, id, at, at + len(part)))
                continue
            code = _CODE.match(part) if self.coded else None
            if code is not None:
                tokens.append(self._token(text, code[0], at, at + code.end()))
                at, part = at + code.end(), part[code.end() :]
            pieces = self.pieces.split(part)
            names, spans = [p.text for p in pieces], [(at + p.start, at + p.end) for p in pieces]
            for name, span in zip(names, places(names, spans), strict=True):
                tokens.append(self._token(text, name, *span))
        return tokens

    def _parts(self, text: str) -> Iterator[tuple[str, int]]:
        """Special tokens and what stands between them, each with its place."""
        longest_first = sorted(self.specials, key=len, reverse=True)
        pattern, at = "|".join(map(re.escape, longest_first)), 0
        for found in re.finditer(pattern, text) if pattern else ():
            if found.start() > at:
                yield text[at : found.start()], at
            yield found[0], found.start()
            at = found.end()
        if at < len(text):
            yield text[at:], at

    def _token(self, text: str, piece: str, start: int, end: int) -> Token:
        id = self.ids.get(piece, self.unknown)
        start += blanks(text[start:end])
        return Token(0, text[start:end], piece, id, start, end, unknown=id == self.unknown)

    def special(self, id: int) -> Token:
        return Token(0, "", self.names.get(id, ""), id, 0, 0, special=True)

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        pieces = [self.names.get(id, "") for id in ids]
        data, spans = b"", list[tuple[int, int]]()
        for piece in pieces:
            shown = b"" if piece in self.specials else _shown(piece)
            shown = shown if data else shown.lstrip(b" ")  # the blank before the text is its own
            spans.append((len(data), len(data) + len(shown)))
            data += shown
        text, places = characters(data)
        tokens = list[Token]()
        for id, piece, (begin, stop) in zip(ids, pieces, spans, strict=True):
            if piece in self.specials:
                tokens.append(self.special(id))
                continue
            start = places[begin]
            end = places[stop - 1] + 1 if stop > begin else start
            start += blanks(text[start:end])
            tokens.append(Token(0, text[start:end], piece, id, start, end))
        return text, tokens


def _shown(piece: str) -> bytes:
    return byte_of(piece) or piece.replace(BLANK, " ").encode()
