"""Whole words as tokens: `tokenizers` splits, a sorted list on disk gives the ids.

A `WordLevel` vocabulary in tokenizer.json would do the same, but is parsed whole at
every start: 35 ms for 60,000 words, a quarter of a second for 400,000. The list here
is memory-mapped and searched by halving, so opening costs the same at any size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from qkv_cli.core.tokens import Token
from qkv_cli.errors import CheckpointError

# As the Penn Treebank splits (GloVe's corpora were split so), first match wins.
_SPLIT = "|".join(
    [
        r"(?:\p{L}\.){2,}",  # u.s.
        r"[\p{L}\p{M}]+(?=n't\b)|n't\b",  # did n't
        r"can(?=not\b)",  # can not
        r"'(?:s|re|ve|ll|d|m)\b",  # she 's
        r"\p{N}+(?:[.,:/]\p{N}+)*(?:-?[\p{L}\p{M}]+)*",  # 1,000  3.5  10:30  20-year
        r"[\p{L}\p{M}\p{N}_]+(?:[-'][\p{L}\p{M}\p{N}_]+)*?(?=n't\b|'(?:s|re|ve|ll|d|m)\b)",
        r"[\p{L}\p{M}\p{N}_]+(?:[-'][\p{L}\p{M}\p{N}_]+)*",  # well-known  o'clock
        r"\.{2,}|-{2,}",
        r"(?!\s)\X",  # a punctuation mark, an emoji with all that joins it
    ]
)
_QUOTES = {
    "\u2019": "'",
    "\u2018": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2013": "--",
    "\u2014": "--",
}


def splitter(*, lowercase: bool) -> Tokenizer:
    """A tokenizer that finds words and knows none: to be saved as tokenizer.json."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    steps: list[Any] = [normalizers.NFC()]
    steps += [normalizers.Replace(*pair) for pair in _QUOTES.items()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_SPLIT), "removed", invert=True)
    return tokenizer


@dataclass(frozen=True, slots=True)
class Words(Sequence[str]):
    """The words of a vocabulary by id, and back, without reading them all."""

    utf8: NDArray[np.uint8]  # all words, one behind the other
    starts: NDArray[np.uint32]  # [n_words + 1]
    order: NDArray[np.uint32]  # [n_words], ids sorted by the words' bytes

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: Any) -> Any:
        return self._bytes(i).decode()

    def _bytes(self, i: int) -> bytes:
        return self.utf8[int(self.starts[i]) : int(self.starts[i + 1])].tobytes()

    def find(self, word: str) -> int | None:
        wanted = word.encode()
        at = bisect_left(self.order, wanted, key=self._bytes)
        if at == len(self) or self._bytes(self.order[at]) != wanted:
            return None
        return int(self.order[at])


def pack_words(words: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The tensors that `unpack_words` reads."""
    encoded = [word.encode() for word in words]
    starts = np.zeros(len(encoded) + 1, np.uint32)
    np.cumsum([len(word) for word in encoded], out=starts[1:])
    order = sorted(range(len(encoded)), key=encoded.__getitem__)
    return {
        "words.utf8": np.frombuffer(b"".join(encoded), np.uint8),
        "words.starts": starts,
        "words.order": np.array(order, np.uint32),
    }


def unpack_words(tensors: Mapping[str, NDArray[Any]]) -> Words:
    try:
        return Words(tensors["words.utf8"], tensors["words.starts"], tensors["words.order"])
    except KeyError as error:
        raise CheckpointError(f"The vectors have no tensor {error}.") from error


@dataclass(frozen=True, slots=True)
class WordTokenizer:
    """A text to words of a vocabulary; a word it lacks has the id behind the last."""

    split: Tokenizer
    words: Words

    @classmethod
    def open(cls, path: Path, words: Words) -> WordTokenizer:
        return cls(Tokenizer.from_file(str(path)), words)

    def encode(self, text: str) -> list[Token]:
        found = self.split.encode(text).offsets
        bounds = [start for start, _ in found] + [len(text)]
        return [self._token(i, text, *span, bounds[i + 1]) for i, span in enumerate(found)]

    def ids(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """The ids of each text's words: many texts, each word looked up once."""
        found: dict[str, int] = {}
        for text in texts:
            text = self.split.normalizer.normalize_str(text)
            words = [word for word, _ in self.split.pre_tokenizer.pre_tokenize_str(text)]
            for word in words:
                if word not in found:
                    known = self.words.find(word)
                    found[word] = len(self.words) if known is None else known
            yield [found[word] for word in words]

    def _token(self, i: int, text: str, start: int, end: int, bound: int) -> Token:
        # Where NFC joins a word's last letter and its accent, the offset ends before the
        # accent; but only spaces stand between two words.
        end = max(end, start + len(text[start:bound].rstrip()))
        text = text[start:end]
        word = self.split.normalizer.normalize_str(text)
        known = self.words.find(word)
        id = len(self.words) if known is None else known
        return Token(i, text, word, id, start, end, unknown=known is None)
