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
    unknown: int | None  # the id of the unknown token

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
        spelled = getattr(inner.model, "unk_token", None)
        return cls(inner, None if spelled is None else inner.token_to_id(spelled))

    def encode(self, text: str) -> list[Token]:
        return self._tokens(text, self._encoded(text))

    def encode_pair(self, first: str, second: str) -> tuple[list[Token], list[int]]:
        """Tokenize two texts as one sequence; also return the token types."""
        encoding = self._encoded(first, second)
        tokens = self._tokens(first, encoding, second)
        # Everything after the second text's first word belongs to it, separators included.
        begin = encoding.sequence_ids.index(1) if 1 in encoding.sequence_ids else len(tokens)
        return [replace(t, segment=int(t.i >= begin)) for t in tokens], encoding.type_ids

    def split(self, text: str) -> list[Token]:
        """Split a text into tokens, without special tokens."""
        return self._tokens(text, self._encoded(text, add_special_tokens=False))

    def _encoded(
        self, text: str, second: str | None = None, *, add_special_tokens: bool = True
    ) -> Encoding:
        with library_errors(_UNREADABLE):
            encoding = self.inner.encode(text, second, add_special_tokens=add_special_tokens)
        rows = (encoding.tokens, encoding.ids, encoding.offsets, encoding.sequence_ids)
        if len({len(row) for row in (*rows, encoding.special_tokens_mask, encoding.type_ids)}) > 1:
            raise CheckpointError(f"{_UNREADABLE}: its template is inconsistent.")
        return encoding

    def special(self, id: int) -> Token:
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

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        """Decode ids to a text, and return it with its tokens."""
        special = {id for id, t in self.inner.get_added_tokens_decoder().items() if t.special}
        written = [id for id in ids if id not in special]
        text = self._decoded(written)
        spans = iter(self._spans(text, written))
        tokens = list[Token]()
        for id in ids:
            if id in special:
                tokens.append(self.special(id))
                continue
            start, end = next(spans)
            start += blanks(text[start:end])
            piece = self.inner.id_to_token(id) or ""
            tokens.append(
                Token(i=0, text=text[start:end], token=piece, id=id, start=start, end=end)
            )
        return text, tokens

    def _spans(self, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return the text of ids, and the offsets of each id's characters."""
        # An incomplete character is decoded as replacement characters.
        read = [self._decoded(ids[: i + 1]) for i in range(len(ids))]
        ends = [_common(part, text) for part in read]
        spans, start = list[tuple[int, int]](), 0
        for i, end in enumerate(ends):
            if len(read[i]) > end:  # the rest of the character is in later ids
                end = next((later for later in ends[i + 1 :] if later > end), len(text))
            # The later bytes of a written replacement character add nothing.
            repeats = start == end and text[:start].endswith("\ufffd")
            spans.append((start - repeats, end))
            start = max(start, ends[i])
        return spans

    def after(self, read: Sequence[int], id: int) -> Token:
        """Return the token of an id after others; its text is what it adds to theirs."""
        known = self.inner.get_added_tokens_decoder().get(id)
        if known is not None and known.special:
            return self.special(id)
        before, whole = self._decoded(read), self._decoded([*read, id])
        text = whole[len(before) :] if whole.startswith(before) else self._decoded([id])
        return Token(i=0, text=text, token=self.inner.id_to_token(id) or "", id=id, start=0, end=0)

    def _decoded(self, ids: Sequence[int]) -> str:
        if self.inner.decoder is not None or not isinstance(self.inner.model, Unigram | BPE):
            with library_errors("Could not decode tokens with the model's tokenizer"):
                decoded: str = self.inner.decode(ids)
                return decoded
        pieces = (self.inner.id_to_token(id) or "" for id in ids)
        data = b"".join(byte_of(piece) or piece.replace(BLANK, " ").encode() for piece in pieces)
        return characters(data)[0].lstrip()

    def _tokens(self, text: str, encoding: Encoding, second: str = "") -> list[Token]:
        texts = (text, second)
        offsets = [
            (start + blanks(texts[sequence or 0][start:end]), end)
            for (start, end), sequence in zip(
                places(encoding.tokens, encoding.offsets), encoding.sequence_ids, strict=True
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
                unknown=id == self.unknown and not special,
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


def places(pieces: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the offsets of each token.

    The space that SentencePiece adds before a text has no characters, although `tokenizers` gives
    it the first one of the next token.
    """
    moved = list(spans)
    for i, (piece, (start, end)) in enumerate(zip(pieces[:-1], spans[:-1], strict=False)):
        after = spans[i + 1]
        if piece == BLANK and after[0] == start < min(end, after[1]):
            moved[i] = start, start
    return moved


def _common(a: str, b: str) -> int:
    """Return the length of the common prefix of two texts."""
    shorter = min(len(a), len(b))
    return next((i for i in range(shorter) if a[i] != b[i]), shorter)


def blanks(text: str) -> int:
    """Return the number of spaces before a word; 0 if there are only spaces."""
    stripped = text.lstrip()
    return len(text) - len(stripped) if stripped else 0
