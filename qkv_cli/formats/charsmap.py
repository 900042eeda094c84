"""How SentencePiece writes a text before it splits it, and where in the text each letter was.

A model file holds the rules as a double-array trie of UTF-8 prefixes (darts-clone) and what is
written in their place (sentencepiece, src/normalizer.cc): u32 size of the trie in bytes, its u32
units, then the replacements, each ended by a zero byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from qkv_cli.errors import CheckpointError

BLANK = "\u2581"  # what a blank is written as, to be a letter of its word


@dataclass(frozen=True, slots=True)
class Charsmap:
    """Prefixes and what is written in their place."""

    units: memoryview  # of the double array, u32
    written: bytes

    @classmethod
    def of(cls, data: bytes) -> Charsmap:
        """The rules in a model file.

        Raises:
            ValueError: They are cut short.
        """
        if not data:
            return cls(memoryview(b"").cast("I"), b"")
        size = int.from_bytes(data[:4], "little")
        if size % 4 or not 0 < size <= len(data) - 4:
            raise ValueError("precompiled_charsmap is truncated")
        units = struct.unpack_from(f"<{size // 4}I", data, 4)
        return cls(memoryview(struct.pack(f"={len(units)}I", *units)).cast("I"), data[4 + size :])

    def longest(self, text: bytes, at: int) -> tuple[int, str] | None:
        """How many bytes the longest rule covers from here, and what it writes."""
        if not len(self.units):
            return None
        found, node = None, _offset(self.units[0])
        for i in range(at, len(text)):
            node ^= text[i]
            unit = self.units[node] if node < len(self.units) else 0
            if unit & 0x800000FF != text[i]:
                break
            node ^= _offset(unit)
            if unit >> 8 & 1:
                found = i + 1 - at, self.units[node] & 0x7FFFFFFF
        if found is None:
            return None
        length, start = found
        return length, self.written[start : self.written.index(0, start)].decode()


def checked(data: bytes) -> bytes:
    """The same rules, for the tokenizers library, which trusts the size that they state.

    Raises:
        CheckpointError: They are cut short.
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
    """A text as it is split, and the characters that each of its letters stands for."""

    text: str
    starts: list[int]
    ends: list[int]


@dataclass(frozen=True, slots=True)
class Normaliser:
    charsmap: Charsmap
    dummy_blank: bool = True  # before the text, so that its first word is as any other
    blank_behind: bool = False  # a word's blank is its last letter
    single_blanks: bool = True
    escaped: bool = True  # whether a blank is written as `BLANK`
    whole: tuple[str, ...] = ()  # what no rule touches, longest first

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
        """What is written, rule by rule, and the characters it is written for."""
        letters = [letter.encode("utf-8", "replace") for letter in text]
        raw = b"".join(letters)
        # Which character each byte is of; one more for the end.
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
