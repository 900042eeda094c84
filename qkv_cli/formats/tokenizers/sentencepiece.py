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
    replacements: bytes  # zero-terminated

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

    def longest_match(self, text: bytes, at: int) -> tuple[int, str] | None:
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
        return length, self.replacements[start : self.replacements.index(0, start)].decode()


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
class NormalisedText:
    """A normalized text, and the original characters of each of its letters."""

    text: str
    starts: list[int]
    ends: list[int]


@dataclass(frozen=True, slots=True)
class Normaliser:
    """SentencePiece's normalization of a text."""

    charsmap: Charsmap
    adds_space: bool = True  # whether a space is added before the text
    space_is_last: bool = False  # whether the space is the last letter of a word
    collapses_spaces: bool = True
    escapes_spaces: bool = True  # whether a space is written as `BLANK`
    unchanged: tuple[str, ...] = ()  # texts that no rule changes, longest first

    def __call__(self, text: str) -> NormalisedText:
        letters, starts, ends = list[str](), list[int](), list[int]()

        def add(replacement: str, start: int, end: int) -> None:
            letters.extend(replacement.replace(" ", blank))
            starts.extend([start] * len(replacement))
            ends.extend([end] * len(replacement))

        blank, has_begun, after_blank = (
            BLANK if self.escapes_spaces else " ",
            False,
            self.collapses_spaces,
        )
        for part, start, end in self._parts(text):
            if self.collapses_spaces and not has_begun and part == " ":
                continue
            if not has_begun and self.adds_space and not self.space_is_last:
                add(" ", start, start)
            has_begun = True
            replacement = part.lstrip(" ") if after_blank else part
            add(replacement, start, end)
            if replacement:
                after_blank = self.collapses_spaces and replacement.endswith(" ")
        while self.collapses_spaces and letters and letters[-1] == blank:
            for column in (letters, starts, ends):
                column.pop()
        if has_begun and self.adds_space and self.space_is_last:
            add(" ", len(text), len(text))
        return NormalisedText("".join(letters), starts, ends)

    def _parts(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Yield the replacement of each rule, and the characters it replaces."""
        letters = [letter.encode("utf-8", "replace") for letter in text]
        utf8 = b"".join(letters)
        # The character of each byte, and one more for the end.
        char_of_byte = [i for i, letter in enumerate(letters) for _ in letter] + [len(text)]
        at = 0
        while at < len(utf8):
            start = char_of_byte[at]
            exempt = next((w for w in self.unchanged if text.startswith(w, start)), None)
            if exempt is not None:
                size, replacement = len(exempt.encode()), exempt
            else:
                rule = self.charsmap.longest_match(utf8, at)
                size, replacement = rule or (len(letters[start]), text[start])
            at += size
            yield replacement, start, char_of_byte[at]


_UNKNOWN_COSTS = 10.0  # below the lowest score


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The vocabulary for splitting a text."""

    scores: Mapping[str, float]
    user_defined: tuple[str, ...]  # user-defined tokens, never split, longest first
    unused: frozenset[str]  # in the vocabulary, but split again
    min_score: float  # of the learned scores
    max_score: float
    max_length: int  # letters


def split_by_score(text: str, lexicon: Lexicon) -> list[str]:
    """Split a text into the tokens with the largest total score; unknown letters are tokens too."""
    scores = lexicon.scores
    best: list[np.float32 | None] = [np.float32(0), *[None] * len(text)]
    came_from = [0] * (len(text) + 1)
    for start in range(len(text)):
        score_so_far, has_character = best[start], False
        assert score_so_far is not None
        for end in range(start + 1, min(start + lexicon.max_length, len(text)) + 1):
            piece = text[start:end]
            if piece not in scores or piece in lexicon.unused:
                continue
            score = scores[piece]
            if piece in lexicon.user_defined:
                score = len(piece.encode()) * lexicon.max_score - 0.1
            has_character = has_character or end == start + 1
            _keep_better(best, came_from, start, end, score_so_far + np.float32(score))
        if not has_character:
            unknown_score = score_so_far + np.float32(lexicon.min_score - _UNKNOWN_COSTS)
            _keep_better(best, came_from, start, start + 1, unknown_score)
    pieces, end = list[str](), len(text)
    while end > 0:
        pieces.append(text[came_from[end] : end])
        end = came_from[end]
    return pieces[::-1]


def _keep_better(
    best: list[np.float32 | None], came_from: list[int], start: int, end: int, score: np.float32
) -> None:
    best_path = best[end]
    if best_path is None or score > best_path:
        best[end], came_from[end] = score, start


def merge_pairs(text: str, lexicon: Lexicon) -> list[str]:
    """Split a text by BPE: merge the two neighbours that form the best token, until none do."""
    scores = lexicon.scores
    symbols = _letters(text, lexicon.user_defined)
    frozen = [symbol in lexicon.user_defined for symbol in symbols]
    previous, following = list(range(-1, len(symbols) - 1)), list(range(1, len(symbols) + 1))
    agenda = list[tuple[float, int, int, str]]()
    halves = dict[str, tuple[str, str]]()

    def pair(i: int, j: int) -> None:
        if i < 0 or j >= len(symbols) or frozen[i] or frozen[j]:
            return
        pair_text = symbols[i] + symbols[j]
        if pair_text in scores:
            heapq.heappush(agenda, (-scores[pair_text], i, j, pair_text))
            if pair_text in lexicon.unused:
                halves[pair_text] = symbols[i], symbols[j]

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
    return [piece for symbol in symbols if symbol for piece in _split_again(symbol, halves)]


def _letters(text: str, user_defined: Sequence[str]) -> list[str]:
    letters, at = list[str](), 0
    while at < len(text):
        letters.append(next((w for w in user_defined if text.startswith(w, at)), text[at]))
        at += len(letters[-1])
    return letters


def _split_again(piece: str, halves: Mapping[str, tuple[str, str]]) -> list[str]:
    if piece not in halves:
        return [piece]
    return [part for half in halves[piece] for part in _split_again(half, halves)]


NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_SPLITS: dict[int, Callable[[str, Lexicon], list[str]]] = {1: split_by_score, 2: merge_pairs}
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
    split_text: Callable[[str, Lexicon], list[str]]
    unknown_id: int
    has_byte_fallback: bool  # whether unknown letters are split into bytes

    @classmethod
    def open(cls, path: Path) -> SentencePieces:
        """Read a model file.

        Raises:
            CheckpointError: It cannot be read, or its algorithm is not implemented.
        """
        try:
            return cls.parse(path.read_bytes(), str(path))
        except OSError as error:
            raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error

    @classmethod
    def parse(cls, data: bytes, name: str) -> SentencePieces:
        """Read a model from the bytes of a file.

        Args:
            name: The name of the file in errors.

        Raises:
            CheckpointError: See `open`.
        """
        try:
            return _build(data)
        except (LookupError, ValueError, struct.error) as error:
            raise CheckpointError(
                f"Could not read {name} as a SentencePiece model: {error}."
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
        for piece in self.split_text(normalised.text, self.lexicon):
            start, end = normalised.starts[at], normalised.ends[at + len(piece) - 1]
            at += len(piece)
            id = self.ids.get(piece, self.unknown_id)
            if id != self.unknown_id:
                pieces.append(Piece(text=piece, id=id, start=start, end=end))
            elif self.has_byte_fallback:
                byte_pieces = [f"<0x{byte:02X}>" for byte in piece.encode()]
                pieces += [Piece(text=s, id=self.ids[s], start=start, end=end) for s in byte_pieces]
            elif pieces and pieces[-1].unknown:
                previous_piece = pieces.pop()
                pieces.append(
                    Piece(
                        text=previous_piece.text + piece,
                        id=id,
                        start=previous_piece.start,
                        end=end,
                        unknown=True,
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
    normalizer: dict[int, int | bytes]

    @property
    def is_bpe(self) -> bool:
        """Whether it splits by merging pairs (BPE) and not by scores (unigram)."""
        return self.trainer.get(3, 1) == 2

    @property
    def charsmap(self) -> bytes:
        return _bytes(self.normalizer.get(2, b""))

    @classmethod
    def open(cls, path: Path) -> Contents:
        """Read a model file.

        Raises:
            CheckpointError: It cannot be read, or its algorithm is not implemented.
        """
        try:
            return _parse_contents(path.read_bytes())
        except OSError as error:
            raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
        except (LookupError, ValueError, struct.error) as error:
            raise CheckpointError(
                f"Could not read {path} as a SentencePiece model: {error}."
            ) from error


def _parse_contents(data: bytes) -> Contents:
    pieces, scores, kinds = list[str](), list[float](), list[int]()
    trainer, normalizer = dict[int, int | bytes](), dict[int, int | bytes]()
    for field, value in _fields(data):
        if field == 1:
            piece, score, kind = _piece(_bytes(value))
            pieces.append(piece)
            scores.append(score)
            kinds.append(kind)
        elif field == 2:
            trainer = dict(_fields(_bytes(value)))
        elif field == 3:
            normalizer = dict(_fields(_bytes(value)))
    if UNKNOWN not in kinds:
        raise ValueError("it has no unknown token")
    kind = _int(trainer.get(3, 1))
    if kind not in _SPLITS:
        raise ValueError(
            f"its model type {_KINDS.get(kind, kind)} is not implemented; implemented: unigram, bpe"
        )
    return Contents(
        pieces=pieces, scores=scores, kinds=kinds, trainer=trainer, normalizer=normalizer
    )


def _build(data: bytes) -> SentencePieces:
    contents = _parse_contents(data)
    pieces, kinds = contents.pieces, contents.kinds
    trainer, normalizer = contents.trainer, contents.normalizer
    lexicon = _lexicon(pieces, contents.scores, kinds)
    return SentencePieces(
        pieces=tuple(pieces),
        ids={p: i for i, p in enumerate(pieces) if kinds[i] != CONTROL},
        normaliser=Normaliser(
            Charsmap.of(contents.charsmap),
            adds_space=bool(normalizer.get(3, 1)),
            space_is_last=bool(trainer.get(24, 0)),
            collapses_spaces=bool(normalizer.get(4, 1)),
            escapes_spaces=bool(normalizer.get(5, 1)),
            unchanged=lexicon.user_defined,
        ),
        lexicon=lexicon,
        split_text=_SPLITS[_int(trainer.get(3, 1))],
        unknown_id=kinds.index(UNKNOWN),
        has_byte_fallback=bool(trainer.get(35, 0)),
    )


def _lexicon(pieces: list[str], scores: list[float], kinds: list[int]) -> Lexicon:
    usable = {p: i for i, p in enumerate(pieces) if kinds[i] in (NORMAL, USER_DEFINED, UNUSED)}
    user_defined = (p for p, i in usable.items() if kinds[i] == USER_DEFINED)
    normal_scores = [score for score, kind in zip(scores, kinds, strict=True) if kind == NORMAL]
    return Lexicon(
        {p: scores[i] for p, i in usable.items()},
        user_defined=tuple(sorted(user_defined, key=lambda p: (-len(p), p))),
        unused=frozenset(p for p, i in usable.items() if kinds[i] == UNUSED),
        min_score=min(normal_scores, default=0.0),
        max_score=max(normal_scores, default=0.0),
        max_length=max(map(len, usable), default=1),
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
