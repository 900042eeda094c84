"""How an encoder-decoder's two texts are split: the source's tokenizer, and the target's.

As transformers does with `text_target`: the same pieces mostly, other special tokens around them
where a language is named, and with Marian other pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qkv_cli.core.tokens import Tokenizer
from qkv_cli.core.writing import Rules
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.checkpoints import read_json
from qkv_cli.formats.framed import Framed, TargetTokenizer
from qkv_cli.formats.pieces import PieceTokenizer
from qkv_cli.formats.rebuilt import class_of
from qkv_cli.formats.sentencepiece import SentencePieces
from qkv_cli.formats.spelled import Spelled
from qkv_cli.formats.vocabulary import SETTINGS, content

_END, _LANGUAGE = "end", "language"


@dataclass(frozen=True, slots=True)
class Template:
    """What stands around a text in a language."""

    before: tuple[str, ...]
    behind: tuple[str, ...]
    usual: str  # the language where none is named


_FIRST = (_LANGUAGE,), (_END,)
_LAST = (), (_END, _LANGUAGE)
# By `tokenizer_class`; transformers sets these anew, whatever tokenizer.json says.
_TEMPLATES = {
    "MBart50Tokenizer": Template(*_FIRST, "en_XX"),
    "MBartTokenizer": Template(*_LAST, "en_XX"),
    "NllbTokenizer": Template(*_FIRST, "eng_Latn"),
    "M2M100Tokenizer": Template(*_FIRST, "en"),
}
_CODE = re.compile(r"__[a-z]{2,3}__|[a-z]{2,3}_[A-Z][A-Za-z]+")  # __de__, de_DE, deu_Latn
_WRAPPED = ("mbart",)
# M2M-100's languages have the ids behind its vocabulary, in this order.
_M2M = {
    "m2m100": "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga "
    "gd gl gu ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk "
    "ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl "
    "tn tr uk ur uz vi wo xh yi yo zh zu",
    "wmt21": "en ha is ja cs ru zh de",
}


def open_tokenizers(folder: Path, kind: str) -> tuple[Tokenizer, TargetTokenizer]:
    """Of the source and of the target.

    Args:
        kind: `model_type` of the config.
    """
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    if kind == "marian" and (folder / "source.spm").is_file():
        return _marian(folder, settings)
    called = class_of(folder, kind)
    if called == "M2M100Tokenizer":
        return _framed(_m2m(folder, settings), settings, _TEMPLATES[called], "__{}__")
    plain = PieceTokenizer.open(folder, kind)
    if called not in _TEMPLATES:
        return plain, plain
    template = _TEMPLATES[called]
    if called == "NllbTokenizer" and settings.get("legacy_behaviour"):
        template = Template(*_LAST, template.usual)
    return _framed(plain, settings, template, "{}")


def first_read(config: Mapping[str, Any], n_tokens: int) -> int | None:
    """What a decoder reads first when it is taught a text.

    Returns:
        None for the last token of the text itself: the language's, in mBART.
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


def writing(folder: Path, config: Mapping[str, Any], n_tokens: int) -> Callable[[], Rules] | None:
    """The rules by which it writes by itself, where a file says with what it begins and ends."""
    path = folder / "generation_config.json"
    said = read_json(path) if path.is_file() else config
    start = said.get("decoder_start_token_id", config.get("decoder_start_token_id"))
    start = said.get("bos_token_id") if start is None else start
    ends = said.get("eos_token_id", config.get("eos_token_id"))
    ends = ends if isinstance(ends, list) else [ends]
    if type(start) is not int or not ends:
        return None
    if not all(type(id) is int and 0 <= id < n_tokens for id in (start, *ends)):
        return None
    return partial(Rules.of, said, start, ends, n_tokens)


def _framed(
    splitter: Spelled | PieceTokenizer,
    settings: Mapping[str, Any],
    template: Template,
    spelled: str,
) -> tuple[Framed, Framed]:
    """The template in the source's language and in the target's, which is the same if not named."""
    source = settings.get("src_lang") or template.usual
    found = list[Framed]()
    for language in (source, settings.get("tgt_lang") or source):
        tokens = {_LANGUAGE: spelled.format(language), _END: settings.get("eos_token", "</s>")}
        before, behind = (
            tuple(_id(splitter, content(tokens[part])) for part in side)
            for side in (template.before, template.behind)
        )
        found.append(Framed(splitter, before, behind, _codes(splitter)))
    return found[0], found[1]


def _codes(splitter: Spelled | PieceTokenizer) -> dict[str, int]:
    """Of the languages that a tokenizer knows, by the tokens that stand for them."""
    if isinstance(splitter, Spelled):
        return {token: id for token, id in splitter.ids.items() if _CODE.fullmatch(token)}
    added = splitter.inner.get_added_tokens_decoder().items()
    return {token.content: id for id, token in added if _CODE.fullmatch(token.content)}


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
    found = list[Framed]()
    for model, vocabulary in zip(("source.spm", "target.spm"), names, strict=True):
        splitter = _spelled(folder, model, vocabulary, settings, coded=True)
        end = content(settings.get("eos_token", "</s>"))
        found.append(Framed(splitter, behind=(_id(splitter, end),)))
    return found[0], found[1]


def _m2m(folder: Path, settings: Mapping[str, Any]) -> Spelled:
    kind = settings.get("language_codes", "m2m100")
    if kind not in [*_M2M]:  # it may be an array, which has no hash
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
        said = settings.get("additional_special_tokens") or settings.get("extra_special_tokens")
        specials |= {content(token) for token in said or ()} & ids.keys()
    return Spelled(
        SentencePieces.open(folder / model),
        ids,
        ids[unknown],
        frozenset(specials | {unknown}),
        coded,
    )
