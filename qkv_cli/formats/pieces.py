"""Tokenizers of checkpoints: word pieces, byte pairs, and the special tokens around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from qkv_cli.core.tokens import Token
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.checkpoints import read_json

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"


@dataclass(frozen=True, slots=True)
class PieceTokenizer:
    """A text to pieces, with the special tokens that the model was trained with."""

    inner: Tokenizer
    unknown: int | None  # id of the piece that stands for what has none

    @classmethod
    def open(cls, folder: Path, kind: str) -> PieceTokenizer:
        """A folder's tokenizer.

        Args:
            kind: `model_type` of its config, which says how to build one that is not there.

        Raises:
            CheckpointError: There is none, or it is broken.
        """
        try:
            if (folder / FILE).is_file():
                inner = Tokenizer.from_file(str(folder / FILE))
            else:
                inner = _built(folder, kind)
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(f"{folder / FILE} cannot be read: {error}.") from error
        inner.no_padding()
        inner.no_truncation()
        spelled = getattr(inner.model, "unk_token", None)
        return cls(inner, None if spelled is None else inner.token_to_id(spelled))

    def encode(self, text: str) -> list[Token]:
        return self._tokens(text, self.inner.encode(text))

    def encode_pair(self, first: str, second: str) -> tuple[list[Token], list[int]]:
        """Two texts in one row, and the token types that their template gives."""
        found = self.inner.encode(first, second)
        tokens = self._tokens(first, found, second)
        # What stands behind the second text's first word is of it, its separators too.
        begin = found.sequence_ids.index(1) if 1 in found.sequence_ids else len(tokens)
        return [replace(t, segment=int(t.i >= begin)) for t in tokens], found.type_ids

    def forced(self, target: str, start: int) -> list[Token]:
        """What a decoder reads when it is taught to write `target`: shifted right by one."""
        said = Token(0, "", self.inner.id_to_token(start) or "", start, 0, 0, special=True)
        rest = self.encode(target)[:-1]
        return [said, *(_moved(token, 1) for token in rest)]

    def written(self, ids: Sequence[int], end: int) -> tuple[str, list[Token]]:
        """The text that these ids spell, and its tokens, the one that ends it among them."""
        text, tokens = "", []
        for i, id in enumerate(ids):
            piece = self.inner.id_to_token(id) or ""
            shown = piece.replace("\u2581", " ")
            text = (text + shown).lstrip()
            start = len(text) - len(shown.lstrip())
            tokens.append(Token(i, text[start:], piece, id, start, len(text)))
        last = self.inner.id_to_token(end) or ""
        tokens.append(Token(len(ids), "", last, end, 0, 0, special=True))
        return text, tokens

    def _tokens(self, text: str, found: Encoding, second: str = "") -> list[Token]:
        texts = (text, second)
        # A space in front belongs to no word, whatever the vocabulary says.
        offsets = [
            (start + _blanks(texts[sequence or 0][start:end]), end)
            for (start, end), sequence in zip(found.offsets, found.sequence_ids, strict=True)
        ]
        return [
            Token(
                i,
                "" if special else texts[sequence or 0][start:end],
                token,
                id,
                start,
                end,
                special=bool(special),
                unknown=id == self.unknown and not special,
            )
            for i, (token, id, (start, end), special, sequence) in enumerate(
                zip(
                    found.tokens,
                    found.ids,
                    offsets,
                    found.special_tokens_mask,
                    found.sequence_ids,
                    strict=True,
                )
            )
        ]


def _blanks(text: str) -> int:
    stripped = text.lstrip()
    return len(text) - len(stripped) if stripped else 0


def _moved(token: Token, by: int) -> Token:
    return Token(
        token.i + by,
        token.text,
        token.token,
        token.id,
        token.start,
        token.end,
        token.special,
        token.unknown,
    )


def _built(folder: Path, kind: str) -> Tokenizer:
    """A tokenizer from the files that were there before tokenizer.json."""
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    if (folder / "vocab.txt").is_file() and kind in ("bert", "distilbert", "electra"):
        return _word_pieces(folder / "vocab.txt", settings)
    if (folder / "merges.txt").is_file() and kind in ("gpt2", "roberta"):
        return _byte_pairs(folder, kind, settings)
    raise CheckpointError(
        f"{folder} has no {FILE}, and for {kind} none can be built from what is there: "
        "AutoTokenizer.from_pretrained(...).save_pretrained(...) of transformers writes one."
    )


def _word_pieces(vocabulary: Path, settings: dict[str, Any]) -> Tokenizer:
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import TemplateProcessing

    found = BertWordPieceTokenizer(
        str(vocabulary),
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )._tokenizer
    assert isinstance(found, Tokenizer)
    cls, sep = settings.get("cls_token", "[CLS]"), settings.get("sep_token", "[SEP]")
    found.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(token, found.token_to_id(token)) for token in (cls, sep)],
    )
    return found


def _byte_pairs(folder: Path, kind: str, settings: dict[str, Any]) -> Tokenizer:
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing

    spaced = settings.get("add_prefix_space", False)
    found = ByteLevelBPETokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), add_prefix_space=spaced
    )._tokenizer
    assert isinstance(found, Tokenizer)
    if kind == "roberta":
        found.add_special_tokens(["<s>", "</s>"])
        ids = [found.token_to_id(token) for token in ("</s>", "<s>")]
        found.post_processor = TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> </s> $B </s>",
            special_tokens=[("</s>", ids[0]), ("<s>", ids[1])],
        )
    return found
