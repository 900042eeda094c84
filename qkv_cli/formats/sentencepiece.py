"""SentencePiece's model files (.model, .spm): the same pieces as the library makes, by its rules.

A protobuf (sentencepiece_model.proto), read here as far as splitting a text needs it. `tokenizers`
has no exact form for it: its `Precompiled` drops accents that the file's rules keep.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.charsmap import Charsmap, Normaliser
from qkv_cli.formats.segment import Lexicon, likeliest, merged

NORMAL, UNKNOWN, CONTROL, OWN, UNUSED, BYTE = range(1, 7)
_SPLITS: dict[int, Callable[[str, Lexicon], list[str]]] = {1: likeliest, 2: merged}
_KINDS = {3: "word", 4: "char"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text; offsets are in characters of it."""

    text: str  # as the file spells it; of what it lacks, the letters themselves
    id: int  # the file's own number
    start: int
    end: int
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class SentencePieces:
    """What a model file says: its pieces in order, and how a text becomes some of them.

    `split(text)` is the library's `encode`, without the special tokens of a model's template:
    whoever knows the family adds those, and the ids by which the model knows the pieces, which
    for many families are not the file's own.
    """

    pieces: tuple[str, ...]
    ids: dict[str, int]  # of all but control pieces, which no text has
    normaliser: Normaliser
    lexicon: Lexicon
    splits: Callable[[str, Lexicon], list[str]]
    unknown: int
    bytewise: bool  # whether letters without a piece are written as bytes

    @classmethod
    def open(cls, path: Path) -> SentencePieces:
        """Read a model file.

        Raises:
            CheckpointError: It cannot be read, or splits in a way that is not implemented.
        """
        try:
            return cls.read(path.read_bytes(), str(path))
        except OSError as error:
            raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error

    @classmethod
    def read(cls, data: bytes, called: str) -> SentencePieces:
        """The bytes of a file of this name; the same errors."""
        try:
            return _read(data)
        except (LookupError, ValueError, struct.error) as error:
            raise CheckpointError(
                f"Could not read {called} as a SentencePiece model: {error}."
            ) from error

    def split(self, text: str) -> list[Piece]:
        """The pieces of a text, in order.

        Raises:
            CheckpointError: The file's rules lead nowhere.
        """
        try:
            return self._split(text)
        except (LookupError, ValueError) as error:
            raise CheckpointError(f"The SentencePiece model is corrupt: {error}.") from error

    def _split(self, text: str) -> list[Piece]:
        written = self.normaliser(text)
        found, at = list[Piece](), 0
        for piece in self.splits(written.text, self.lexicon):
            start, end = written.starts[at], written.ends[at + len(piece) - 1]
            at += len(piece)
            id = self.ids.get(piece, self.unknown)
            if id != self.unknown:
                found.append(Piece(piece, id, start, end))
            elif self.bytewise:
                spelled = [f"<0x{byte:02X}>" for byte in piece.encode()]
                found += [Piece(s, self.ids[s], start, end) for s in spelled]
            elif found and found[-1].unknown:
                before = found.pop()
                found.append(Piece(before.text + piece, id, before.start, end, unknown=True))
            else:
                found.append(Piece(piece, id, start, end, unknown=True))
        return found


@dataclass(frozen=True, slots=True)
class Contents:
    """What a model file holds: its pieces in order, and its settings by their numbers."""

    pieces: list[str]
    scores: list[float]
    kinds: list[int]
    trainer: dict[int, int | bytes]
    rules: dict[int, int | bytes]  # of writing

    @property
    def merges(self) -> bool:
        """Whether it splits by merging pairs, not by the likeliest pieces."""
        return self.trainer.get(3, 1) == 2

    @property
    def charsmap(self) -> bytes:
        return _bytes(self.rules.get(2, b""))

    @classmethod
    def open(cls, path: Path) -> Contents:
        """Read a model file.

        Raises:
            CheckpointError: It cannot be read, or splits in a way that is not implemented.
        """
        try:
            return _contents(path.read_bytes())
        except OSError as error:
            raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
        except (LookupError, ValueError, struct.error) as error:
            raise CheckpointError(
                f"Could not read {path} as a SentencePiece model: {error}."
            ) from error


def _contents(data: bytes) -> Contents:
    pieces, scores, kinds = list[str](), list[float](), list[int]()
    trainer, rules = dict[int, int | bytes](), dict[int, int | bytes]()
    for field, value in _fields(data):
        if field == 1:
            piece, score, kind = _piece(_bytes(value))
            pieces.append(piece)
            scores.append(score)
            kinds.append(kind)
        elif field == 2:
            trainer = dict(_fields(_bytes(value)))
        elif field == 3:
            rules = dict(_fields(_bytes(value)))
    if UNKNOWN not in kinds:
        raise ValueError("it has no unknown token")
    kind = _int(trainer.get(3, 1))
    if kind not in _SPLITS:
        raise ValueError(
            f"its model type {_KINDS.get(kind, kind)} is not implemented; implemented: unigram, bpe"
        )
    return Contents(pieces, scores, kinds, trainer, rules)


def _read(data: bytes) -> SentencePieces:
    found = _contents(data)
    pieces, kinds, trainer, rules = found.pieces, found.kinds, found.trainer, found.rules
    lexicon = _lexicon(pieces, found.scores, kinds)
    return SentencePieces(
        pieces=tuple(pieces),
        ids={p: i for i, p in enumerate(pieces) if kinds[i] != CONTROL},
        normaliser=Normaliser(
            Charsmap.of(found.charsmap),
            dummy_blank=bool(rules.get(3, 1)),
            blank_behind=bool(trainer.get(24, 0)),
            single_blanks=bool(rules.get(4, 1)),
            escaped=bool(rules.get(5, 1)),
            whole=lexicon.whole,
        ),
        lexicon=lexicon,
        splits=_SPLITS[_int(trainer.get(3, 1))],
        unknown=kinds.index(UNKNOWN),
        bytewise=bool(trainer.get(35, 0)),
    )


def _lexicon(pieces: list[str], scores: list[float], kinds: list[int]) -> Lexicon:
    usable = {p: i for i, p in enumerate(pieces) if kinds[i] in (NORMAL, OWN, UNUSED)}
    own = (p for p, i in usable.items() if kinds[i] == OWN)
    learned = [score for score, kind in zip(scores, kinds, strict=True) if kind == NORMAL]
    return Lexicon(
        {p: scores[i] for p, i in usable.items()},
        whole=tuple(sorted(own, key=lambda p: (-len(p), p))),
        unused=frozenset(p for p, i in usable.items() if kinds[i] == UNUSED),
        lowest=min(learned, default=0.0),
        highest=max(learned, default=0.0),
        longest=max(map(len, usable), default=1),
    )


def _piece(data: bytes) -> tuple[str, float, int]:
    """Its text, score and kind, which mostly stand in this order."""
    size = data[1] if len(data) > 1 else 0
    if data[:1] == b"\x0a" and size < 0x80 and len(data) == size + 7 and data[size + 2] == 0x15:
        return data[2 : size + 2].decode(), struct.unpack_from("<f", data, size + 3)[0], NORMAL
    said = dict(_fields(data))
    score = struct.unpack("<f", _bytes(said.get(2, bytes(4))))[0]
    return _bytes(said.get(1, b"")).decode(), score, _int(said.get(3, NORMAL))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbered fields of a protobuf message, in order; numbers behind a point as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"it has a field of unknown wire type {wire}")
        if at + size > len(data):
            raise ValueError(
                f"it is truncated: a field has {size} bytes, {len(data) - at} are left"
            )
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at == len(data):
            raise ValueError("it is truncated: the last field is incomplete")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("expected a string, found a number")
    return value


def _int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("expected a number, found a string")
    return value
