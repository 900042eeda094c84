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
from qkv_cli.formats.tokenizers.pieces import PieceTokenizer, blanks, places
from qkv_cli.formats.tokenizers.sentencepiece import SentencePieces
from qkv_cli.formats.tokenizers.transformers import class_of
from qkv_cli.formats.tokenizers.vocabulary import SETTINGS, content


class TargetTokenizer(Tokenizer, Protocol):
    """A tokenizer of target texts: it encodes a text and decodes ids."""

    def special(self, id: int) -> Token:
        """Return a special token."""

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        """Decode ids to a text, and return it with its tokens."""


class Splitter(TargetTokenizer, Protocol):
    """A tokenizer without special tokens, to which `Framed` adds them."""

    def split(self, text: str) -> list[Token]:
        """Split a text into tokens, without special tokens."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A tokenizer that adds special tokens before and after the tokens of its splitter.

    A text may start with a language code, which then replaces the default one.
    """

    splitter: Splitter
    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    codes: Mapping[str, int] = field(default_factory=dict)  # of languages

    def encode(self, text: str) -> list[Token]:
        code, at = self._named(text)
        before, behind = (
            [self.splitter.special(id if code is None else self._in(id, code)) for id in ids]
            for ids in (self.before, self.behind)
        )
        pieces = self.splitter.split(text[at:])
        moved = [replace(p, start=p.start + at, end=p.end + at) for p in pieces]
        return in_order([*before, *moved, *behind])

    def alone(self, text: str) -> int | None:
        """Return the language of a text that is only a language code."""
        code, at = self._named(text)
        return None if text[at:].strip() else code

    def in_language(self, rules: Rules, code: int) -> Rules:
        """Return rules for generating in a language: its code is the first or a forced token."""
        ends = any(id in self.codes.values() for id in self.behind)
        return replace(rules, start_id=code) if ends else replace(rules, forced_first_id=code)

    def _named(self, text: str) -> tuple[int | None, int]:
        """Return the language code that starts a text, and the start of the rest."""
        word = text.split(maxsplit=1)[0] if text.strip() else ""
        if word not in self.codes:
            return None, 0
        return self.codes[word], text.index(word) + len(word)

    def _in(self, id: int, code: int) -> int:
        return code if id in self.codes.values() else id

    def special(self, id: int) -> Token:
        return self.splitter.special(id)

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        return self.splitter.spelled(ids)


def in_order(tokens: Sequence[Token]) -> list[Token]:
    return [replace(token, i=i) for i, token in enumerate(tokens)]


_MARIAN_CODE = re.compile(r">>.*?<<")  # a target language in Marian, as >>fra<<


@dataclass(frozen=True, slots=True)
class Spelled:
    pieces: SentencePieces
    ids: Mapping[str, int]  # of pieces and of special tokens
    unknown: int
    specials: frozenset[str]  # special tokens that are recognised in a text
    coded: bool = False  # whether a text may start with a language code
    names: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", {id: piece for piece, id in self.ids.items()})

    def encode(self, text: str) -> list[Token]:
        return in_order(self.split(text))

    def split(self, text: str) -> list[Token]:
        tokens = list[Token]()
        for part, at in self._parts(text):
            if part in self.specials:
                id = self.ids.get(part, self.unknown)
                tokens.append(
                    Token(i=0, text=part, token=part, id=id, start=at, end=at + len(part))
                )
                continue
            code = _MARIAN_CODE.match(part) if self.coded else None
            if code is not None:
                tokens.append(self._token(text, code[0], at, at + code.end()))
                at, part = at + code.end(), part[code.end() :]
            pieces = self.pieces.split(part)
            names, spans = [p.text for p in pieces], [(at + p.start, at + p.end) for p in pieces]
            for name, span in zip(names, places(names, spans), strict=True):
                tokens.append(self._token(text, name, *span))
        return tokens

    def _parts(self, text: str) -> Iterator[tuple[str, int]]:
        """Yield special tokens and the texts between them, with their offsets."""
        longest_first = sorted(self.specials, key=len, reverse=True)
        pattern, at = "|".join(map(re.escape, longest_first)), 0
        for match in re.finditer(pattern, text) if pattern else ():
            if match.start() > at:
                yield text[at : match.start()], at
            yield match[0], match.start()
            at = match.end()
        if at < len(text):
            yield text[at:], at

    def _token(self, text: str, piece: str, start: int, end: int) -> Token:
        id = self.ids.get(piece, self.unknown)
        start += blanks(text[start:end])
        return Token(
            i=0,
            text=text[start:end],
            token=piece,
            id=id,
            start=start,
            end=end,
            unknown=id == self.unknown,
        )

    def special(self, id: int) -> Token:
        return Token(
            i=0, text="", token=self.names.get(id, ""), id=id, start=0, end=0, special=True
        )

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        pieces = [self.names.get(id, "") for id in ids]
        data, spans = b"", list[tuple[int, int]]()
        for piece in pieces:
            shown_bytes = b"" if piece in self.specials else _shown(piece)
            shown_bytes = (
                shown_bytes if data else shown_bytes.lstrip(b" ")
            )  # the tokenizer adds the space before the text
            spans.append((len(data), len(data) + len(shown_bytes)))
            data += shown_bytes
        text, places = characters(data)
        tokens = list[Token]()
        for id, piece, (begin, stop) in zip(ids, pieces, spans, strict=True):
            if piece in self.specials:
                tokens.append(self.special(id))
                continue
            start = places[begin]
            end = places[stop - 1] + 1 if stop > begin else start
            start += blanks(text[start:end])
            tokens.append(
                Token(i=0, text=text[start:end], token=piece, id=id, start=start, end=end)
            )
        return text, tokens


def _shown(piece: str) -> bytes:
    return byte_of(piece) or piece.replace(BLANK, " ").encode()


_END, _LANGUAGE = "end", "language"


@dataclass(frozen=True, slots=True)
class Template:
    """The special tokens around a text in a language."""

    before: tuple[str, ...]
    behind: tuple[str, ...]
    usual: str  # the default language


_FIRST = (_LANGUAGE,), (_END,)
_LAST = (), (_END, _LANGUAGE)
# By `tokenizer_class`; transformers replaces the template of tokenizer.json.
_TEMPLATES = {
    "MBart50Tokenizer": Template(*_FIRST, "en_XX"),
    "MBartTokenizer": Template(*_LAST, "en_XX"),
    "NllbTokenizer": Template(*_FIRST, "eng_Latn"),
    "M2M100Tokenizer": Template(*_FIRST, "en"),
}
_LANGUAGE_CODE = re.compile(r"__[a-z]{2,3}__|[a-z]{2,3}_[A-Z][A-Za-z]+")  # __de__, de_DE, deu_Latn
_WRAPPED = ("mbart",)
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
    called = class_of(folder, kind)
    if called == "M2M100Tokenizer":
        return _framed(_m2m(folder, settings), settings, _TEMPLATES[called], "__{}__")
    tokenizer = PieceTokenizer.open(folder, kind)
    if called not in _TEMPLATES:
        return tokenizer, tokenizer
    template = _TEMPLATES[called]
    if called == "NllbTokenizer" and settings.get("legacy_behaviour"):
        template = Template(*_LAST, template.usual)
    return _framed(tokenizer, settings, template, "{}")


def first_read(config: Mapping[str, Any], n_tokens: int) -> int | None:
    """Return the id that a decoder reads first with a given target.

    Returns:
        None for the last token of the target, which is a language code in mBART.
    """
    if config.get("model_type") in _WRAPPED:
        return None
    start = config.get("decoder_start_token_id", config.get("pad_token_id"))
    if type(start) is not int or not 0 <= start < n_tokens:
        raise CheckpointError(
            f"config.json: decoder_start_token_id (by default pad_token_id) is {start!r:.40}; "
            f"expected a token id from 0 to {n_tokens - 1}."
        )
    return start


def generation_rules(
    folder: Path, config: Mapping[str, Any], n_tokens: int
) -> Callable[[], Rules] | None:
    """Return the generation rules, if a file states the start and end tokens."""
    path = folder / "generation_config.json"
    settings = read_json(path) if path.is_file() else config
    start = settings.get("decoder_start_token_id", config.get("decoder_start_token_id"))
    start = settings.get("bos_token_id") if start is None else start
    ends = settings.get("eos_token_id", config.get("eos_token_id"))
    ends = ends if isinstance(ends, list) else [ends]
    if type(start) is not int or not ends:
        return None
    if not all(type(id) is int and 0 <= id < n_tokens for id in (start, *ends)):
        return None
    return partial(Rules.of, settings, start, ends, n_tokens)


def _framed(
    splitter: Spelled | PieceTokenizer,
    settings: Mapping[str, Any],
    template: Template,
    spelled: str,
) -> tuple[Framed, Framed]:
    """Return the tokenizers of source and target, with the templates of their languages."""
    source = settings.get("src_lang") or template.usual
    tokenizers = list[Framed]()
    for language in (source, settings.get("tgt_lang") or source):
        tokens = {_LANGUAGE: spelled.format(language), _END: settings.get("eos_token", "</s>")}
        before, behind = (
            tuple(_id(splitter, content(tokens[part])) for part in side)
            for side in (template.before, template.behind)
        )
        tokenizers.append(
            Framed(splitter=splitter, before=before, behind=behind, codes=_codes(splitter))
        )
    return tokenizers[0], tokenizers[1]


def _codes(splitter: Spelled | PieceTokenizer) -> dict[str, int]:
    """Return the ids of language codes."""
    if isinstance(splitter, Spelled):
        return {token: id for token, id in splitter.ids.items() if _LANGUAGE_CODE.fullmatch(token)}
    added_tokens = splitter.inner.get_added_tokens_decoder().items()
    return {
        token.content: id for id, token in added_tokens if _LANGUAGE_CODE.fullmatch(token.content)
    }


def _id(splitter: Spelled | PieceTokenizer, token: str) -> int:
    ids = splitter.ids if isinstance(splitter, Spelled) else splitter.inner.get_vocab()
    if token not in ids:
        raise CheckpointError(
            f"The tokenizer needs the token {token!r}, which its vocabulary lacks."
        )
    return int(ids[token])


def _marian(folder: Path, settings: Mapping[str, Any]) -> tuple[Framed, Framed]:
    names = ["vocab.json", "vocab.json"]
    if settings.get("separate_vocabs"):
        names[1] = "target_vocab.json"
    tokenizers = list[Framed]()
    for model, vocabulary in zip(("source.spm", "target.spm"), names, strict=True):
        splitter = _spelled(folder, model, vocabulary, settings, coded=True)
        end = content(settings.get("eos_token", "</s>"))
        tokenizers.append(Framed(splitter, behind=(_id(splitter, end),)))
    return tokenizers[0], tokenizers[1]


def _m2m(folder: Path, settings: Mapping[str, Any]) -> Spelled:
    kind = settings.get("language_codes", "m2m100")
    if kind not in [*_M2M]:  # it may be an array, which is not hashable
        raise CheckpointError(
            f"{SETTINGS} sets language_codes to {kind!r}, which is not implemented; implemented: "
            f"{', '.join(_M2M)}."
        )
    codes = [f"__{code}__" for code in _M2M[kind].split()]
    return _spelled(folder, "sentencepiece.bpe.model", "vocab.json", settings, languages=codes)


def _spelled(
    folder: Path,
    model: str,
    vocabulary: str,
    settings: Mapping[str, Any],
    *,
    coded: bool = False,
    languages: list[str] | None = None,
) -> Spelled:
    ids = {str(piece): id for piece, id in read_json(folder / vocabulary).items()}
    if not all(type(id) is int for id in ids.values()):
        raise CheckpointError(f"{folder / vocabulary}: every value must be a token id.")
    unknown = content(settings.get("unk_token", "<unk>"))
    if unknown not in ids:
        raise CheckpointError(f"{folder / vocabulary} has no {unknown!r}, the unknown token.")
    specials = {
        content(value)
        for name, value in {"eos_token": "</s>", "pad_token": "<pad>", **settings}.items()
        if name in ("bos_token", "eos_token", "pad_token", "sep_token") and value is not None
    }
    if languages is not None:
        specials |= {"<s>"}
        ids |= {code: len(ids) + i for i, code in enumerate(languages)}
        additional = settings.get("additional_special_tokens") or settings.get(
            "extra_special_tokens"
        )
        specials |= {content(token) for token in additional or ()} & ids.keys()
    return Spelled(
        pieces=SentencePieces.open(folder / model),
        ids=ids,
        unknown=ids[unknown],
        specials=frozenset(specials | {unknown}),
        coded=coded,
    )
