"""Tokenizers of checkpoints: sub-words and special tokens, with offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tokenizers import Encoding, Tokenizer
from tokenizers.models import BPE, Unigram

from qkv_cli.core.tokens import BLANK, Token, byte_of, characters
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.tokenizers.library import library_errors
from qkv_cli.formats.tokenizers.transformers import open_tokenizer
from qkv_cli.formats.tokenizers.vocabulary import FILE

_UNREADABLE = "Could not tokenize this text with the model's tokenizer"


@dataclass(frozen=True, slots=True)
class PieceTokenizer:
    """Splits a text into sub-words, and adds the model's special tokens."""

    inner: Tokenizer
    unknown_id: int | None  # the id of the unknown token

    @classmethod
    def open(cls, folder: Path, kind: str) -> PieceTokenizer:
        """Open a folder's tokenizer.

        Args:
            kind: The `model_type` of its config, by which a missing tokenizer.json is built.

        Raises:
            CheckpointError: There is none, or it is corrupt.
        """
        with library_errors(f"Could not read {folder / FILE}", OSError, UnicodeError):
            inner = open_tokenizer(folder, kind)
        inner.no_padding()
        inner.no_truncation()
        unknown_piece = getattr(inner.model, "unk_token", None)
        return cls(inner, None if unknown_piece is None else inner.token_to_id(unknown_piece))

    def encode(self, text: str) -> list[Token]:
        return self._tokens(text, self._encode(text))

    def encode_pair(self, first: str, second: str) -> tuple[list[Token], list[int]]:
        """Tokenize two texts as one sequence; also return the token types."""
        encoding = self._encode(first, second)
        tokens = self._tokens(first, encoding, second)
        # Everything after the second text's first word belongs to it, separators included.
        second_start = encoding.sequence_ids.index(1) if 1 in encoding.sequence_ids else len(tokens)
        return [replace(t, segment=int(t.i >= second_start)) for t in tokens], encoding.type_ids

    def split(self, text: str) -> list[Token]:
        """Split a text into tokens, without special tokens."""
        return self._tokens(text, self._encode(text, add_special_tokens=False))

    def _encode(
        self, text: str, second: str | None = None, *, add_special_tokens: bool = True
    ) -> Encoding:
        with library_errors(_UNREADABLE):
            encoding = self.inner.encode(text, second, add_special_tokens=add_special_tokens)
        rows = (encoding.tokens, encoding.ids, encoding.offsets, encoding.sequence_ids)
        if len({len(row) for row in (*rows, encoding.special_tokens_mask, encoding.type_ids)}) > 1:
            raise CheckpointError(f"{_UNREADABLE}: its template is inconsistent.")
        return encoding

    def special_token(self, id: int) -> Token:
        """Return a special token."""
        return Token(
            i=0,
            text="",
            token=self.inner.id_to_token(id) or "",
            id=id,
            start=0,
            end=0,
            special=True,
        )

    def decode(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        """Decode ids to a text, and return it with its tokens."""
        special = {id for id, t in self.inner.get_added_tokens_decoder().items() if t.special}
        text_ids = [id for id in ids if id not in special]
        text = self._decode_ids(text_ids)
        spans = iter(self._spans(text, text_ids))
        tokens = list[Token]()
        for id in ids:
            if id in special:
                tokens.append(self.special_token(id))
                continue
            start, end = next(spans)
            start += n_leading_spaces(text[start:end])
            piece = self.inner.id_to_token(id) or ""
            tokens.append(
                Token(i=0, text=text[start:end], token=piece, id=id, start=start, end=end)
            )
        return text, tokens

    def _spans(self, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return the offsets in `text` of the characters of each id."""
        # An incomplete character is decoded as replacement characters.
        prefixes = [self._decode_ids(ids[: i + 1]) for i in range(len(ids))]
        ends = [_common_prefix_length(prefix, text) for prefix in prefixes]
        spans, start = list[tuple[int, int]](), 0
        for i, end in enumerate(ends):
            if len(prefixes[i]) > end:  # the rest of the character is in later ids
                end = next((later_end for later_end in ends[i + 1 :] if later_end > end), len(text))
            # A replacement character may be several tokens, of which the later ones add no text.
            repeats = start == end and text[:start].endswith("\ufffd")
            spans.append((start - repeats, end))
            start = max(start, ends[i])
        return spans

    def next_token(self, previous_ids: Sequence[int], id: int) -> Token:
        """Return the token of an id that follows others; its text is what it adds to theirs."""
        added_token = self.inner.get_added_tokens_decoder().get(id)
        if added_token is not None and added_token.special:
            return self.special_token(id)
        previous_text, whole_text = (
            self._decode_ids(previous_ids),
            self._decode_ids([*previous_ids, id]),
        )
        text = (
            whole_text[len(previous_text) :]
            if whole_text.startswith(previous_text)
            else self._decode_ids([id])
        )
        return Token(i=0, text=text, token=self.inner.id_to_token(id) or "", id=id, start=0, end=0)

    def _decode_ids(self, ids: Sequence[int]) -> str:
        if self.inner.decoder is not None or not isinstance(self.inner.model, Unigram | BPE):
            with library_errors("Could not decode tokens with the model's tokenizer"):
                text: str = self.inner.decode(ids)
                return text
        pieces = (self.inner.id_to_token(id) or "" for id in ids)
        utf8 = b"".join(byte_of(piece) or piece.replace(BLANK, " ").encode() for piece in pieces)
        return characters(utf8)[0].lstrip()

    def _tokens(self, text: str, encoding: Encoding, second: str = "") -> list[Token]:
        texts = (text, second)
        offsets = [
            (start + n_leading_spaces(texts[sequence or 0][start:end]), end)
            for (start, end), sequence in zip(
                piece_offsets(encoding.tokens, encoding.offsets), encoding.sequence_ids, strict=True
            )
        ]
        return [
            Token(
                i=i,
                text="" if special else texts[sequence or 0][start:end],
                token=token,
                id=id,
                start=start,
                end=end,
                special=bool(special),
                unknown=id == self.unknown_id and not special,
            )
            for i, (token, id, (start, end), special, sequence) in enumerate(
                zip(
                    encoding.tokens,
                    encoding.ids,
                    offsets,
                    encoding.special_tokens_mask,
                    encoding.sequence_ids,
                    strict=True,
                )
            )
        ]


def piece_offsets(pieces: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the offsets of each token.

    The space that SentencePiece adds before a text has no characters, although `tokenizers` gives
    it the first one of the next token.
    """
    offsets = list(spans)
    for i, (piece, (start, end)) in enumerate(zip(pieces[:-1], spans[:-1], strict=False)):
        next_span = spans[i + 1]
        if piece == BLANK and next_span[0] == start < min(end, next_span[1]):
            offsets[i] = start, start
    return offsets


def _common_prefix_length(a: str, b: str) -> int:
    """Return the length of the common prefix of two texts."""
    shorter = min(len(a), len(b))
    return next((i for i in range(shorter) if a[i] != b[i]), shorter)


def n_leading_spaces(text: str) -> int:
    """Return the number of spaces before a word; 0 if there are only spaces."""
    stripped = text.lstrip()
    return len(text) - len(stripped) if stripped else 0
