"""SentencePiece: model files, normalization, and segmentation, with the library's results."""

from __future__ import annotations

import heapq
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qkv_cli.core.tokens import BLANK
from qkv_cli.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Charsmap:
    """Normalization rules: prefixes and their replacements."""

    units: memoryview  # of the double array, u32
    written: bytes

    @classmethod
    def of(cls, data: bytes) -> Charsmap:
        """Read the rules of a model file.

        Raises:
            ValueError: They are truncated.
        """
        if not data:
            return cls(memoryview(b"").cast("I"), b"")
        size = int.from_bytes(data[:4], "little")
        if size % 4 or not 0 < size <= len(data) - 4:
            raise ValueError("precompiled_charsmap is truncated")
        units = struct.unpack_from(f"<{size // 4}I", data, 4)
        return cls(memoryview(struct.pack(f"={len(units)}I", *units)).cast("I"), data[4 + size :])

    def longest(self, text: bytes, at: int) -> tuple[int, str] | None:
        """Return the length of the longest rule that applies at a position, and its replacement."""
        if not len(self.units):
            return None
        match, node = None, _offset(self.units[0])
        for i in range(at, len(text)):
            node ^= text[i]
            unit = self.units[node] if node < len(self.units) else 0
            if unit & 0x800000FF != text[i]:
                break
            node ^= _offset(unit)
            if unit >> 8 & 1:
                match = i + 1 - at, self.units[node] & 0x7FFFFFFF
        if match is None:
            return None
        length, start = match
        return length, self.written[start : self.written.index(0, start)].decode()


def checked_charsmap(data: bytes) -> bytes:
    """Return the same rules for the tokenizers library, which trusts their stated size.

    Raises:
        CheckpointError: They are truncated.
    """
    try:
        Charsmap.of(data)
    except ValueError as error:
        raise CheckpointError(f"The tokenizer is corrupt: {error}.") from error
    return data


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


@dataclass(frozen=True, slots=True)
class Written:
    """A normalized text, and the original characters of each of its letters."""

    text: str
    starts: list[int]
    ends: list[int]


@dataclass(frozen=True, slots=True)
class Normaliser:
    charsmap: Charsmap
    dummy_blank: bool = True  # whether a space is added before the text
    blank_behind: bool = False  # whether the space is the last letter of a word
    single_blanks: bool = True
    escaped: bool = True  # whether a space is written as `BLANK`
    whole: tuple[str, ...] = ()  # texts that no rule changes, longest first

    def __call__(self, text: str) -> Written:
        letters, starts, ends = list[str](), list[int](), list[int]()

        def add(written: str, start: int, end: int) -> None:
            letters.extend(written.replace(" ", blank))
            starts.extend([start] * len(written))
            ends.extend([end] * len(written))

        blank, begun, after_blank = BLANK if self.escaped else " ", False, self.single_blanks
        for part, start, end in self._parts(text):
            if self.single_blanks and not begun and part == " ":
                continue
            if not begun and self.dummy_blank and not self.blank_behind:
                add(" ", start, start)
            begun = True
            written = part.lstrip(" ") if after_blank else part
            add(written, start, end)
            if written:
                after_blank = self.single_blanks and written.endswith(" ")
        while self.single_blanks and letters and letters[-1] == blank:
            for row in (letters, starts, ends):
                row.pop()
        if begun and self.dummy_blank and self.blank_behind:
            add(" ", len(text), len(text))
        return Written("".join(letters), starts, ends)

    def _parts(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Yield the replacement of each rule, and the characters it replaces."""
        letters = [letter.encode("utf-8", "replace") for letter in text]
        raw = b"".join(letters)
        # The character of each byte, and one more for the end.
        where = [i for i, letter in enumerate(letters) for _ in letter] + [len(text)]
        at = 0
        while at < len(raw):
            start = where[at]
            own = next((w for w in self.whole if text.startswith(w, start)), None)
            if own is not None:
                size, written = len(own.encode()), own
            else:
                rule = self.charsmap.longest(raw, at)
                size, written = rule or (len(letters[start]), text[start])
            at += size
            yield written, start, where[at]


_UNKNOWN_COSTS = 10.0  # below the lowest score


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The vocabulary for splitting a text."""

    scores: Mapping[str, float]
    whole: tuple[str, ...]  # user-defined tokens, never split, longest first
    unused: frozenset[str]  # known, but split again
    lowest: float  # of the learned scores
    highest: float
    longest: int  # letters


def likeliest(text: str, lexicon: Lexicon) -> list[str]:
    """Return the tokens with the largest total score; a letter that has none is its own token."""
    scores = lexicon.scores
    best: list[np.float32 | None] = [np.float32(0), *[None] * len(text)]
    came_from = [0] * (len(text) + 1)
    for start in range(len(text)):
        so_far, has_character = best[start], False
        assert so_far is not None
        for end in range(start + 1, min(start + lexicon.longest, len(text)) + 1):
            piece = text[start:end]
            if piece not in scores or piece in lexicon.unused:
                continue
            score = scores[piece]
            if piece in lexicon.whole:
                score = len(piece.encode()) * lexicon.highest - 0.1
            has_character = has_character or end == start + 1
            _better(best, came_from, start, end, so_far + np.float32(score))
        if not has_character:
            unknown = so_far + np.float32(lexicon.lowest - _UNKNOWN_COSTS)
            _better(best, came_from, start, start + 1, unknown)
    pieces, end = list[str](), len(text)
    while end > 0:
        pieces.append(text[came_from[end] : end])
        end = came_from[end]
    return pieces[::-1]


def _better(
    best: list[np.float32 | None], came_from: list[int], start: int, end: int, score: np.float32
) -> None:
    best_path = best[end]
    if best_path is None or score > best_path:
        best[end], came_from[end] = score, start


def merged(text: str, lexicon: Lexicon) -> list[str]:
    """Merge letters, always the two neighbours that form the best token, until none do."""
    scores = lexicon.scores
    symbols = _letters(text, lexicon.whole)
    frozen = [symbol in lexicon.whole for symbol in symbols]
    previous, following = list(range(-1, len(symbols) - 1)), list(range(1, len(symbols) + 1))
    agenda = list[tuple[float, int, int, str]]()
    parts = dict[str, tuple[str, str]]()

    def pair(i: int, j: int) -> None:
        if i < 0 or j >= len(symbols) or frozen[i] or frozen[j]:
            return
        pair_text = symbols[i] + symbols[j]
        if pair_text in scores:
            heapq.heappush(agenda, (-scores[pair_text], i, j, pair_text))
            if pair_text in lexicon.unused:
                parts[pair_text] = symbols[i], symbols[j]

    for i in range(len(symbols) - 1):
        pair(i, i + 1)
    while agenda:
        _, i, j, pair_text = heapq.heappop(agenda)
        if not symbols[i] or not symbols[j] or symbols[i] + symbols[j] != pair_text:
            continue
        symbols[i], symbols[j] = pair_text, ""
        following[i] = following[j]
        if following[j] < len(symbols):
            previous[following[j]] = i
        pair(previous[i], i)
        pair(i, following[i])
    return [piece for symbol in symbols if symbol for piece in _split_again(symbol, parts)]


def _letters(text: str, user_defined: Sequence[str]) -> list[str]:
    letters, at = list[str](), 0
    while at < len(text):
        letters.append(next((w for w in user_defined if text.startswith(w, at)), text[at]))
        at += len(letters[-1])
    return letters


def _split_again(piece: str, parts: Mapping[str, tuple[str, str]]) -> list[str]:
    if piece not in parts:
        return [piece]
    return [small for part in parts[piece] for small in _split_again(part, parts)]


NORMAL, UNKNOWN, CONTROL, OWN, UNUSED, BYTE = range(1, 7)
_SPLITS: dict[int, Callable[[str, Lexicon], list[str]]] = {1: likeliest, 2: merged}
_KINDS = {3: "word", 4: "char"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of a text; offsets are in its characters."""

    text: str  # its spelling in the file; if unknown, its letters
    id: int  # its id in the file
    start: int
    end: int
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class SentencePieces:
    """A SentencePiece model.

    `split(text)` is the library's `encode`, without the special tokens of a template: the code of
    the family adds those, and the model's ids, which often differ from the file's.
    """

    pieces: tuple[str, ...]
    ids: dict[str, int]  # of all tokens except control tokens
    normaliser: Normaliser
    lexicon: Lexicon
    splits: Callable[[str, Lexicon], list[str]]
    unknown: int
    bytewise: bool  # whether unknown letters are split into bytes

    @classmethod
    def open(cls, path: Path) -> SentencePieces:
        """Read a model file.

        Raises:
            CheckpointError: It cannot be read, or its algorithm is not implemented.
        """
        try:
            return cls.read(path.read_bytes(), str(path))
        except OSError as error:
            raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error

    @classmethod
    def read(cls, data: bytes, called: str) -> SentencePieces:
        """Read the bytes of a file; raises the same errors as `open`."""
        try:
            return _read(data)
        except (LookupError, ValueError, struct.error) as error:
            raise CheckpointError(
                f"Could not read {called} as a SentencePiece model: {error}."
            ) from error

    def split(self, text: str) -> list[Piece]:
        """Split a text into tokens.

        Raises:
            CheckpointError: The file's rules are corrupt.
        """
        try:
            return self._split(text)
        except (LookupError, ValueError) as error:
            raise CheckpointError(f"The SentencePiece model is corrupt: {error}.") from error

    def _split(self, text: str) -> list[Piece]:
        normalised = self.normaliser(text)
        pieces, at = list[Piece](), 0
        for piece in self.splits(normalised.text, self.lexicon):
            start, end = normalised.starts[at], normalised.ends[at + len(piece) - 1]
            at += len(piece)
            id = self.ids.get(piece, self.unknown)
            if id != self.unknown:
                pieces.append(Piece(text=piece, id=id, start=start, end=end))
            elif self.bytewise:
                byte_pieces = [f"<0x{byte:02X}>" for byte in piece.encode()]
                pieces += [Piece(text=s, id=self.ids[s], start=start, end=end) for s in byte_pieces]
            elif pieces and pieces[-1].unknown:
                before = pieces.pop()
                pieces.append(
                    Piece(
                        text=before.text + piece, id=id, start=before.start, end=end, unknown=True
                    )
                )
            else:
                pieces.append(Piece(text=piece, id=id, start=start, end=end, unknown=True))
        return pieces


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a model file: tokens in order, and settings by field number."""

    pieces: list[str]
    scores: list[float]
    kinds: list[int]
    trainer: dict[int, int | bytes]
    rules: dict[int, int | bytes]  # of writing

    @property
    def merges(self) -> bool:
        """Whether it splits by merging pairs (BPE) and not by scores (unigram)."""
        return self.trainer.get(3, 1) == 2

    @property
    def charsmap(self) -> bytes:
        return _bytes(self.rules.get(2, b""))

    @classmethod
    def open(cls, path: Path) -> Contents:
        """Read a model file.

        Raises:
            CheckpointError: It cannot be read, or its algorithm is not implemented.
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
    return Contents(pieces=pieces, scores=scores, kinds=kinds, trainer=trainer, rules=rules)


def _read(data: bytes) -> SentencePieces:
    contents = _contents(data)
    pieces, kinds, trainer, rules = (
        contents.pieces,
        contents.kinds,
        contents.trainer,
        contents.rules,
    )
    lexicon = _lexicon(pieces, contents.scores, kinds)
    return SentencePieces(
        pieces=tuple(pieces),
        ids={p: i for i, p in enumerate(pieces) if kinds[i] != CONTROL},
        normaliser=Normaliser(
            Charsmap.of(contents.charsmap),
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
    user_defined = (p for p, i in usable.items() if kinds[i] == OWN)
    normal_scores = [score for score, kind in zip(scores, kinds, strict=True) if kind == NORMAL]
    return Lexicon(
        {p: scores[i] for p, i in usable.items()},
        whole=tuple(sorted(user_defined, key=lambda p: (-len(p), p))),
        unused=frozenset(p for p, i in usable.items() if kinds[i] == UNUSED),
        lowest=min(normal_scores, default=0.0),
        highest=max(normal_scores, default=0.0),
        longest=max(map(len, usable), default=1),
    )


def _piece(data: bytes) -> tuple[str, float, int]:
    """Return the text, score and type of a token."""
    size = data[1] if len(data) > 1 else 0
    if data[:1] == b"\x0a" and size < 0x80 and len(data) == size + 7 and data[size + 2] == 0x15:
        return data[2 : size + 2].decode(), struct.unpack_from("<f", data, size + 3)[0], NORMAL
    fields = dict(_fields(data))
    score = struct.unpack("<f", _bytes(fields.get(2, bytes(4))))[0]
    return _bytes(fields.get(1, b"")).decode(), score, _int(fields.get(3, NORMAL))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message, in order; floats as bytes."""
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
