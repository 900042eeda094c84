"""The tokenizer of word-vector models: `tokenizers` splits, a sorted list on disk gives the ids.

A `WordLevel` vocabulary in tokenizer.json would be parsed at every start, which takes 35 ms for
60,000 words and 250 ms for 400,000. The list is memory-mapped and searched by bisection, so it
opens in the same time at any size.

A vocabulary may have words that `tokenizers` splits into several pieces (`c++`, `<user>`,
`New York`). Their ids are in `words.cut`, and the longest of them at a position is one word.
Folders of version 0.1 have no such list, and are read as version 0.1 did.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from qkv_cli.core.tokens import Token
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.tokenizers.library import library_errors, open_tokenizer_file

# The rules of the Penn Treebank, as used for GloVe's corpora; the first match wins.
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
        r"(?!\s)\X",  # a punctuation mark, or an emoji with its modifiers
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
_BLANKS = re.compile(r"\s+")
_STRAIGHT = str.maketrans(_QUOTES)
_CLOSING = "\"')]}>\u2019\u201d \t\r\f\v"  # characters that may follow the full stop of a sentence
_UNREADABLE = "Could not tokenize this text with the model's tokenizer.json"
_BATCH = 10_000  # words that are split at once
Span = tuple[int, int]  # of characters


def build_splitter(*, lowercase: bool) -> Tokenizer:
    """Return a tokenizer that splits words and has no vocabulary, for tokenizer.json."""
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
    """The words of a vocabulary by id, and ids by word, without reading them all."""

    utf8: NDArray[np.uint8]  # all words, concatenated
    starts: NDArray[np.uint32]  # [n_words + 1]
    order: NDArray[np.uint32]  # [n_words], ids sorted by the words' bytes

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: Any) -> Any:
        if i >= len(self):
            raise IndexError(i)
        try:
            return self._bytes(i).decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"Word {i} of the vocabulary is not valid UTF-8.") from error

    def _bytes(self, i: int) -> bytes:
        """Return the bytes of a word, and check the lists here, so that opening reads nothing."""
        try:
            start, end = int(self.starts[i]), int(self.starts[i + 1])
        except IndexError as error:
            raise CheckpointError(
                f"The vocabulary lists the word id {i}, out of range (0 to {len(self) - 1})."
            ) from error
        if not start <= end <= self.utf8.size:
            raise CheckpointError(
                f"Word {i} of the vocabulary is at bytes {start} to {end}, out of range "
                f"(0 to {len(self.utf8)})."
            )
        return self.utf8[start:end].tobytes()

    def find(self, word: str) -> int | None:
        """Return the id of a word; None if it is unknown."""
        spelling = word.encode()
        id = self._next(spelling, self.order)
        return id if id is not None and self._bytes(id) == spelling else None

    def has_prefix(self, start: str, ids: NDArray[np.uint32]) -> bool:
        """Whether a word of these ids, which are sorted by their bytes, has this prefix."""
        prefix = start.encode()
        id = self._next(prefix, ids)
        return id is not None and self._bytes(id).startswith(prefix)

    def _next(self, spelling: bytes, ids: NDArray[np.uint32]) -> int | None:
        """Return the first of these ids whose word is not before `spelling`."""
        at = bisect_left(ids, spelling, key=self._bytes)
        return None if at == len(ids) else int(ids[at])


def pack_words(words: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return the tensors that `unpack_words` reads."""
    word_bytes = [word.encode() for word in words]
    starts = np.zeros(len(word_bytes) + 1, np.uint32)
    np.cumsum([len(word) for word in word_bytes], out=starts[1:])
    order = sorted(range(len(word_bytes)), key=word_bytes.__getitem__)
    return {
        "words.utf8": np.frombuffer(b"".join(word_bytes), np.uint8),
        "words.starts": starts,
        "words.order": np.array(order, np.uint32),
    }


def unpack_words(tensors: Mapping[str, NDArray[Any]]) -> Words:
    """Return the words of a vocabulary.

    Raises:
        CheckpointError: A tensor is missing or invalid.
    """
    utf8, starts, order = (_list_tensor(tensors, name) for name in ("utf8", "starts", "order"))
    if len(starts) != len(order) + 1:
        raise CheckpointError(
            f"words.order has {len(order)} entries, so words.starts must have {len(order) + 1}; "
            f"found {len(starts)}."
        )
    return Words(utf8, starts, order)


def unpack_cut_ids(tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.uint32] | None:
    """Return the ids of words that are split into pieces, if they are listed.

    Raises:
        CheckpointError: The tensor is invalid.
    """
    return _list_tensor(tensors, "cut") if "words.cut" in tensors else None


def _list_tensor(tensors: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    kind = np.uint8 if name == "utf8" else np.uint32
    if (array := tensors.get(f"words.{name}")) is None:
        raise CheckpointError(f"vectors.safetensors has no tensor 'words.{name}'.")
    if array.dtype != kind or array.ndim != 1:
        raise CheckpointError(
            f"Tensor 'words.{name}' has dtype {array.dtype} and shape {list(array.shape)}; "
            f"expected {kind.__name__} and a single axis."
        )
    return array


def find_cut_words(
    splitter: Tokenizer, words: Sequence[str], order: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Return the ids of words that are split into several pieces, in the order of `order`."""
    # Letters alone are one piece, except `cannot`.
    candidates = [i for i, w in enumerate(words) if not w.isalpha() or w.lower().endswith("not")]
    is_cut: NDArray[np.bool_] = np.zeros(len(words), bool)
    for start in range(0, len(candidates), _BATCH):
        ids = candidates[start : start + _BATCH]
        pieces_of_words = splitter.encode_batch_fast([words[i] for i in ids])
        is_cut[ids] = [len(pieces_of_word) > 1 for pieces_of_word in pieces_of_words]
    cut_ids: NDArray[np.uint32] = order[is_cut[order]]
    return cut_ids


@dataclass(frozen=True, slots=True)
class WordTokenizer:
    """Splits a text into words of a vocabulary; unknown words get the id after the last."""

    splitter: Tokenizer
    words: Words
    cut_ids: NDArray[np.uint32] | None = None  # see `find_cut_words`; None in version 0.1

    @classmethod
    def open(
        cls, path: Path, words: Words, cut_ids: NDArray[np.uint32] | None = None
    ) -> WordTokenizer:
        """Open the tokenizer.json at `path`.

        Raises:
            CheckpointError: It cannot be read, or lacks rules.
        """
        splitter = open_tokenizer_file(path)
        if cut_ids is None and None in (splitter.normalizer, splitter.pre_tokenizer):
            raise CheckpointError(f"{path} must have a normalizer and a pre_tokenizer.")
        return cls(splitter, words, cut_ids)

    def encode(self, text: str) -> list[Token]:
        with library_errors(_UNREADABLE):
            pieces = _pieces(text, self.splitter.encode(text).offsets)
            if self.cut_ids is None:
                find = cache(self._find_as_v01)  # words repeat
                matches = [(span, *find(text[slice(*span)])) for span in pieces]
            else:
                matches = list(_WordSearch(self.words, self.cut_ids).find_words(text, pieces))
        unknown = len(self.words)
        return [
            Token(
                i=i,
                text=text[start:end],
                token=spelling,
                id=unknown if id is None else id,
                start=start,
                end=end,
                unknown=id is None,
            )
            for i, ((start, end), spelling, id) in enumerate(matches)
        ]

    def ids(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """Yield the ids of each text's words; each word is looked up once."""
        if self.cut_ids is None:
            yield from self._ids_as_v01(texts)
            return
        search, unknown = _WordSearch(self.words, self.cut_ids), len(self.words)
        texts = list(texts)
        with library_errors(_UNREADABLE):
            encodings = self.splitter.encode_batch(texts)
        for text, encoding in zip(texts, encodings, strict=True):
            matches = search.find_words(text, _pieces(text, encoding.offsets))
            yield [unknown if id is None else id for _, _, id in matches]

    def _find_as_v01(self, text: str) -> tuple[str, int | None]:
        """Return the spelling and id of a piece, as in version 0.1."""
        word = self.splitter.normalizer.normalize_str(text)
        return word, self.words.find(word)

    def _ids_as_v01(self, texts: Iterable[str]) -> Iterator[list[int]]:
        ids: dict[str, int] = {}
        with library_errors(_UNREADABLE):
            normalized_texts = map(self.splitter.normalizer.normalize_str, texts)
            pieces_of_texts = [
                self.splitter.pre_tokenizer.pre_tokenize_str(text) for text in normalized_texts
            ]
        for pieces in pieces_of_texts:
            words = [word for word, _ in pieces]
            for word in words:
                if word not in ids:
                    id = self.words.find(word)
                    ids[word] = len(self.words) if id is None else id
            yield [ids[word] for word in words]


def _pieces(text: str, offsets: Sequence[Span]) -> list[Span]:
    """Return the offsets of the pieces of `tokenizers`, including combining characters."""
    bounds = [start for start, _ in offsets] + [len(text)]
    # Where NFC joins a word's last letter and its accent, the offset ends before the
    # accent; but there are only spaces between two words.
    return [
        (start, max(end, start + len(text[start : bounds[i + 1]].rstrip())))
        for i, (start, end) in enumerate(offsets)
    ]


@dataclass(slots=True)
class _WordSearch:
    """Finds the words of texts, looking up every spelling once."""

    words: Words
    cut_ids: NDArray[np.uint32]
    matches: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    is_prefix: dict[str, bool] = field(default_factory=dict)

    def find_words(
        self, text: str, pieces: Sequence[Span]
    ) -> Iterator[tuple[Span, str, int | None]]:
        """Yield the longest words from left to right: offsets, spelling, and id if known."""
        first_piece = 0
        while first_piece < len(pieces):
            last_piece, spelling, id = self._longest(text, pieces, first_piece)
            yield (pieces[first_piece][0], pieces[last_piece][1]), spelling, id
            first_piece = last_piece + 1

    def _longest(
        self, text: str, pieces: Sequence[Span], first_piece: int
    ) -> tuple[int, str, int | None]:
        """Return the last piece of the longest word that starts here, its spelling and its id.

        If no word starts here, this is the first piece, with its own spelling.
        """
        start, end = pieces[first_piece]
        last_piece, (spelling, id) = first_piece, self._find(text[start:end])
        for i in range(first_piece + 1, len(pieces)):
            next_start, next_end = pieces[i]
            # A prefix of one more piece is looked up quickly, and excludes nearly all candidates.
            if not self._has_longer_word(text[start : min(end + 1, next_start)]):
                break
            if not self._has_longer_word(text[start:next_end]):
                break
            end = next_end
            longer_spelling, longer_id = self._find(text[start:end])
            is_stop = id is not None and last_piece == i - 1 and _ends_sentence(text, start, end)
            if longer_id is not None and not is_stop:
                last_piece, spelling, id = i, longer_spelling, longer_id
        return last_piece, spelling, id

    def _find(self, text: str) -> tuple[str, int | None]:
        """Return a text's spelling in the vocabulary and its id; as written if it is unknown."""
        if text not in self.matches:
            candidates = ((form, self.words.find(form)) for form in _forms(text))
            self.matches[text] = next(
                (match for match in candidates if match[1] is not None), (text, None)
            )
        return self.matches[text]

    def _has_longer_word(self, text: str) -> bool:
        """Whether a word of several pieces may start with these."""
        if text not in self.is_prefix:
            self.is_prefix[text] = any(
                self.words.has_prefix(form, self.cut_ids) for form in _forms(text)
            )
        return self.is_prefix[text]


def _forms(text: str) -> Iterable[str]:
    """Yield the spellings to look up: as written, normalized, in lower case.

    Decomposed forms are last, for vocabularies with accents as separate characters.
    """
    if text.isascii() and not _BLANKS.search(text):
        return dict.fromkeys((text, text.lower()))
    normal = _BLANKS.sub(" ", unicodedata.normalize("NFC", text).translate(_STRAIGHT))
    forms = (text, normal, text.lower(), normal.lower())
    decomposed = (unicodedata.normalize("NFD", form) for form in (normal, normal.lower()))
    return dict.fromkeys((*forms, *decomposed))


def _ends_sentence(text: str, start: int, end: int) -> bool:
    """Whether a span ends with the full stop of its line, as in `The cat sat.`

    The Penn Treebank splits it off only there; `Dr.` is a word if the vocabulary has it.
    """
    if text[end - 1] != "." or not text[end - 2].isalnum():
        return False
    line_start, line_end = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    is_last = not text[end : line_end if line_end >= 0 else len(text)].strip(_CLOSING)
    return is_last and bool(text[line_start:start].strip())
