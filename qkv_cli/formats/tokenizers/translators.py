"""Tokenizers of encoder-decoders: the source's, the target's, and their special tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from qkv_cli.core.generate import Rules
from qkv_cli.core.tokens import BLANK, Token, Tokenizer, byte_of, characters
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.folder import read_json
from qkv_cli.formats.tokenizers.pieces import PieceTokenizer, n_leading_spaces, piece_offsets
from qkv_cli.formats.tokenizers.sentencepiece import SentencePieces
from qkv_cli.formats.tokenizers.transformers import class_of
from qkv_cli.formats.tokenizers.vocabulary import SETTINGS, content


class TargetTokenizer(Tokenizer, Protocol):
    """A tokenizer of target texts: it encodes a text and decodes ids."""

    def special_token(self, id: int) -> Token:
        """Return a special token."""

    def decode(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        """Decode ids to a text, and return it with its tokens."""


class Splitter(TargetTokenizer, Protocol):
    """A tokenizer without special tokens, to which `FramedTokenizer` adds them."""

    def split(self, text: str) -> list[Token]:
        """Split a text into tokens, without special tokens."""


@dataclass(frozen=True, slots=True)
class FramedTokenizer:
    """A tokenizer that adds special tokens before and after the tokens of its splitter.

    A text may start with a language code, which then replaces the default one.
    """

    splitter: Splitter
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    codes: Mapping[str, int] = field(default_factory=dict)  # of languages

    def encode(self, text: str) -> list[Token]:
        code, at = self._leading_language(text)
        prefix, suffix = (
            [
                self.splitter.special_token(
                    id if code is None else self._replace_language(id, code)
                )
                for id in ids
            ]
            for ids in (self.prefix, self.suffix)
        )
        pieces = self.splitter.split(text[at:])
        shifted_pieces = [replace(p, start=p.start + at, end=p.end + at) for p in pieces]
        return renumber([*prefix, *shifted_pieces, *suffix])

    def only_language(self, text: str) -> int | None:
        """Return the language of a text that consists of a language code; None for other texts."""
        code, at = self._leading_language(text)
        return None if text[at:].strip() else code

    def rules_for_language(self, rules: Rules, code: int) -> Rules:
        """Return rules for generating in a language, whose code is the start token or forced."""
        code_is_last = any(id in self.codes.values() for id in self.suffix)
        return (
            replace(rules, start_id=code) if code_is_last else replace(rules, forced_first_id=code)
        )

    def _leading_language(self, text: str) -> tuple[int | None, int]:
        """Return the language code that starts a text, and the start of the rest."""
        word = text.split(maxsplit=1)[0] if text.strip() else ""
        if word not in self.codes:
            return None, 0
        return self.codes[word], text.index(word) + len(word)

    def _replace_language(self, id: int, code: int) -> int:
        return code if id in self.codes.values() else id

    def special_token(self, id: int) -> Token:
        return self.splitter.special_token(id)

    def decode(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        return self.splitter.decode(ids)


def renumber(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens with their indices in this order."""
    return [replace(token, i=i) for i, token in enumerate(tokens)]


_MARIAN_CODE = re.compile(r">>.*?<<")  # a target language in Marian, as >>fra<<


@dataclass(frozen=True, slots=True)
class SentencePieceSplitter:
    """Splits a text with a SentencePiece model, with the ids of another file."""

    pieces: SentencePieces
    ids: Mapping[str, int]  # of pieces and of special tokens
    unknown_id: int
    special_tokens: frozenset[str]  # which are recognised in a text
    has_language_codes: bool = False  # whether a text may start with a language code
    names: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", {id: piece for piece, id in self.ids.items()})

    def encode(self, text: str) -> list[Token]:
        return renumber(self.split(text))

    def split(self, text: str) -> list[Token]:
        tokens = list[Token]()
        for part, at in self._parts(text):
            if part in self.special_tokens:
                id = self.ids.get(part, self.unknown_id)
                tokens.append(
                    Token(i=0, text=part, token=part, id=id, start=at, end=at + len(part))
                )
                continue
            code = _MARIAN_CODE.match(part) if self.has_language_codes else None
            if code is not None:
                tokens.append(self._token(text, code[0], at, at + code.end()))
                at, part = at + code.end(), part[code.end() :]
            pieces = self.pieces.split(part)
            names, spans = [p.text for p in pieces], [(at + p.start, at + p.end) for p in pieces]
            for name, span in zip(names, piece_offsets(names, spans), strict=True):
                tokens.append(self._token(text, name, *span))
        return tokens

    def _parts(self, text: str) -> Iterator[tuple[str, int]]:
        """Yield special tokens and the texts between them, with their offsets."""
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        pattern, at = "|".join(map(re.escape, longest_first)), 0
        for match in re.finditer(pattern, text) if pattern else ():
            if match.start() > at:
                yield text[at : match.start()], at
            yield match[0], match.start()
            at = match.end()
        if at < len(text):
            yield text[at:], at

    def _token(self, text: str, piece: str, start: int, end: int) -> Token:
        id = self.ids.get(piece, self.unknown_id)
        start += n_leading_spaces(text[start:end])
        return Token(
            i=0,
            text=text[start:end],
            token=piece,
            id=id,
            start=start,
            end=end,
            unknown=id == self.unknown_id,
        )

    def special_token(self, id: int) -> Token:
        return Token(
            i=0, text="", token=self.names.get(id, ""), id=id, start=0, end=0, special=True
        )

    def decode(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        pieces = [self.names.get(id, "") for id in ids]
        utf8, spans = b"", list[tuple[int, int]]()
        for piece in pieces:
            piece_utf8 = b"" if piece in self.special_tokens else _piece_bytes(piece)
            if not utf8:  # the tokenizer adds the space before the text
                piece_utf8 = piece_utf8.lstrip(b" ")
            spans.append((len(utf8), len(utf8) + len(piece_utf8)))
            utf8 += piece_utf8
        text, char_of_byte = characters(utf8)
        tokens = list[Token]()
        for id, piece, (first_byte, stop_byte) in zip(ids, pieces, spans, strict=True):
            if piece in self.special_tokens:
                tokens.append(self.special_token(id))
                continue
            start = char_of_byte[first_byte]
            end = char_of_byte[stop_byte - 1] + 1 if stop_byte > first_byte else start
            start += n_leading_spaces(text[start:end])
            tokens.append(
                Token(i=0, text=text[start:end], token=piece, id=id, start=start, end=end)
            )
        return text, tokens


def _piece_bytes(piece: str) -> bytes:
    return byte_of(piece) or piece.replace(BLANK, " ").encode()


_END, _LANGUAGE = "end", "language"


@dataclass(frozen=True, slots=True)
class Template:
    """The special tokens around a text in a language."""

    prefix: tuple[str, ...]
    suffix: tuple[str, ...]
    default_language: str


_LANGUAGE_FIRST = (_LANGUAGE,), (_END,)
_LANGUAGE_LAST = (), (_END, _LANGUAGE)
# By `tokenizer_class`; transformers replaces the template of tokenizer.json.
_TEMPLATES = {
    "MBart50Tokenizer": Template(*_LANGUAGE_FIRST, "en_XX"),
    "MBartTokenizer": Template(*_LANGUAGE_LAST, "en_XX"),
    "NllbTokenizer": Template(*_LANGUAGE_FIRST, "eng_Latn"),
    "M2M100Tokenizer": Template(*_LANGUAGE_FIRST, "en"),
}
_LANGUAGE_CODE = re.compile(r"__[a-z]{2,3}__|[a-z]{2,3}_[A-Z][A-Za-z]+")  # __de__, de_DE, deu_Latn
_STARTS_WITH_LAST_TOKEN = ("mbart",)
# M2M-100's language codes follow its vocabulary, in this order.
_M2M = {
    "m2m100": "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga "
    "gd gl gu ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk "
    "ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl "
    "tn tr uk ur uz vi wo xh yi yo zh zu",
    "wmt21": "en ha is ja cs ru zh de",
}


def open_tokenizers(folder: Path, kind: str) -> tuple[Tokenizer, TargetTokenizer]:
    """Open the tokenizers of the source and of the target.

    Args:
        kind: `model_type` of the config.
    """
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    if kind == "marian" and (folder / "source.spm").is_file():
        return _marian(folder, settings)
    class_name = class_of(folder, kind)
    if class_name == "M2M100Tokenizer":
        return _with_template(_m2m(folder, settings), settings, _TEMPLATES[class_name], "__{}__")
    tokenizer = PieceTokenizer.open(folder, kind)
    if class_name not in _TEMPLATES:
        return tokenizer, tokenizer
    template = _TEMPLATES[class_name]
    if class_name == "NllbTokenizer" and settings.get("legacy_behaviour"):
        template = Template(*_LANGUAGE_LAST, template.default_language)
    return _with_template(tokenizer, settings, template, "{}")


def decoder_start_id(config: Mapping[str, Any], n_tokens: int) -> int | None:
    """Return the id that a decoder reads first with a given target.

    Returns:
        None for the last token of the target, which is a language code in mBART.
    """
    if config.get("model_type") in _STARTS_WITH_LAST_TOKEN:
        return None
    start_id = config.get("decoder_start_token_id", config.get("pad_token_id"))
    if type(start_id) is not int or not 0 <= start_id < n_tokens:
        raise CheckpointError(
            f"config.json: decoder_start_token_id (by default pad_token_id) is {start_id!r:.40}; "
            f"expected a token id from 0 to {n_tokens - 1}."
        )
    return start_id


def generation_rules(
    folder: Path, config: Mapping[str, Any], n_tokens: int
) -> Callable[[], Rules] | None:
    """Return the generation rules, if a file states the start and end tokens."""
    path = folder / "generation_config.json"
    settings = read_json(path) if path.is_file() else config
    start_id = settings.get("decoder_start_token_id", config.get("decoder_start_token_id"))
    start_id = settings.get("bos_token_id") if start_id is None else start_id
    end_ids = settings.get("eos_token_id", config.get("eos_token_id"))
    end_ids = end_ids if isinstance(end_ids, list) else [end_ids]
    if type(start_id) is not int or not end_ids:
        return None
    if not all(type(id) is int and 0 <= id < n_tokens for id in (start_id, *end_ids)):
        return None
    return partial(Rules.of, settings, start_id, end_ids, n_tokens)


def _with_template(
    splitter: SentencePieceSplitter | PieceTokenizer,
    settings: Mapping[str, Any],
    template: Template,
    code_format: str,
) -> tuple[FramedTokenizer, FramedTokenizer]:
    """Return the tokenizers of source and target, with the templates of their languages."""
    source = settings.get("src_lang") or template.default_language
    tokenizers = list[FramedTokenizer]()
    for language in (source, settings.get("tgt_lang") or source):
        tokens = {_LANGUAGE: code_format.format(language), _END: settings.get("eos_token", "</s>")}
        prefix, suffix = (
            tuple(_id(splitter, content(tokens[part])) for part in side)
            for side in (template.prefix, template.suffix)
        )
        tokenizers.append(
            FramedTokenizer(splitter=splitter, prefix=prefix, suffix=suffix, codes=_codes(splitter))
        )
    return tokenizers[0], tokenizers[1]


def _codes(splitter: SentencePieceSplitter | PieceTokenizer) -> dict[str, int]:
    """Return the ids of language codes."""
    if isinstance(splitter, SentencePieceSplitter):
        return {token: id for token, id in splitter.ids.items() if _LANGUAGE_CODE.fullmatch(token)}
    added_tokens = splitter.inner.get_added_tokens_decoder().items()
    return {
        token.content: id for id, token in added_tokens if _LANGUAGE_CODE.fullmatch(token.content)
    }


def _id(splitter: SentencePieceSplitter | PieceTokenizer, token: str) -> int:
    ids = (
        splitter.ids if isinstance(splitter, SentencePieceSplitter) else splitter.inner.get_vocab()
    )
    if token not in ids:
        raise CheckpointError(
            f"The tokenizer needs the token {token!r}, which its vocabulary lacks."
        )
    return int(ids[token])


def _marian(folder: Path, settings: Mapping[str, Any]) -> tuple[FramedTokenizer, FramedTokenizer]:
    names = ["vocab.json", "vocab.json"]
    if settings.get("separate_vocabs"):
        names[1] = "target_vocab.json"
    tokenizers = list[FramedTokenizer]()
    for model, vocabulary in zip(("source.spm", "target.spm"), names, strict=True):
        splitter = _open_splitter(folder, model, vocabulary, settings, has_language_codes=True)
        end = content(settings.get("eos_token", "</s>"))
        tokenizers.append(FramedTokenizer(splitter, suffix=(_id(splitter, end),)))
    return tokenizers[0], tokenizers[1]


def _m2m(folder: Path, settings: Mapping[str, Any]) -> SentencePieceSplitter:
    kind = settings.get("language_codes", "m2m100")
    if kind not in [*_M2M]:  # it may be an array, which is not hashable
        raise CheckpointError(
            f"{SETTINGS} sets language_codes to {kind!r}, which is not implemented; implemented: "
            f"{', '.join(_M2M)}."
        )
    codes = [f"__{code}__" for code in _M2M[kind].split()]
    return _open_splitter(
        folder, "sentencepiece.bpe.model", "vocab.json", settings, languages=codes
    )


def _open_splitter(
    folder: Path,
    model: str,
    vocabulary: str,
    settings: Mapping[str, Any],
    *,
    has_language_codes: bool = False,
    languages: list[str] | None = None,
) -> SentencePieceSplitter:
    ids = {str(piece): id for piece, id in read_json(folder / vocabulary).items()}
    if not all(type(id) is int for id in ids.values()):
        raise CheckpointError(f"{folder / vocabulary}: every value must be a token id.")
    unknown = content(settings.get("unk_token", "<unk>"))
    if unknown not in ids:
        raise CheckpointError(f"{folder / vocabulary} has no {unknown!r}, the unknown token.")
    special_tokens = {
        content(value)
        for name, value in {"eos_token": "</s>", "pad_token": "<pad>", **settings}.items()
        if name in ("bos_token", "eos_token", "pad_token", "sep_token") and value is not None
    }
    if languages is not None:
        special_tokens |= {"<s>"}
        ids |= {code: len(ids) + i for i, code in enumerate(languages)}
        additional = settings.get("additional_special_tokens") or settings.get(
            "extra_special_tokens"
        )
        special_tokens |= {content(token) for token in additional or ()} & ids.keys()
    return SentencePieceSplitter(
        pieces=SentencePieces.open(folder / model),
        ids=ids,
        unknown_id=ids[unknown],
        special_tokens=frozenset(special_tokens | {unknown}),
        has_language_codes=has_language_codes,
    )
