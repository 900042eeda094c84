"""A folder's tokenizer as the class that transformers 5.24 chooses for it builds it.

Most classes take the vocabulary alone from tokenizer.json, or from the files that were there before
it: vocab.txt (word pieces), vocab.json and merges.txt (byte pairs), SentencePiece models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.checkpoints import read_json
from qkv_cli.formats.library import open_tokenizer_file
from qkv_cli.formats.tokenizer_class import BACKEND, choose_class
from qkv_cli.formats.vocabulary import (
    FILE,
    SETTINGS,
    Settings,
    Template,
    Vocabulary,
    begin_and_end,
    finish,
    kept_template,
    read_vocabulary,
)

BERT: Template = ("cls $A sep", "cls $A sep $B:1 sep:1")
ROBERTA: Template = ("cls $A sep", "cls $A sep sep $B sep")
CLASSIC = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
FAIRSEQ = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>"} | {
    "cls": "<s>",
    "mask": "<mask>",
}
_END = "<|endoftext|>"
_GPT = {"bos": _END, "eos": _END, "unk": _END}
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Versions before 5 of transformers wrote a wrong rule for these; a setting asks to mend it.
_MENDED = ("mistral", "mistral3", "voxtral", "ministral", "pixtral")
Build = Callable[[Settings, Vocabulary], Tokenizer]
Read = Callable[[Settings], Vocabulary]


@dataclass(frozen=True, slots=True)
class TokenizerClass:
    """How a class builds its tokenizer.

    Attributes:
        model: What it builds, and so what tokenizer.json must hold.
        files: Where else the vocabulary may be; `read` reads them.
    """

    model: type
    build: Build
    files: tuple[str, ...] = ()
    read: Read | None = None


def open_tokenizer(folder: Path, kind: str) -> Tokenizer:
    """Build the tokenizer of a folder.

    Args:
        kind: `model_type` of its config.

    Raises:
        CheckpointError: There is none, or its class is not implemented.
    """
    from qkv_cli.formats.sentences import CLASSES

    settings = Settings.read(folder)
    _refuse_other_rules(settings, kind)
    name = class_of(folder, kind)
    found = {**_CLASSES, **CLASSES}.get(name)
    if (folder / FILE).is_file():
        if found is not None and name != BACKEND:
            vocabulary = read_vocabulary(folder / FILE, name, found.model)
            if vocabulary is not None:
                return found.build(settings, vocabulary)
        tokenizer = open_tokenizer_file(folder / FILE)
        return finish(tokenizer, settings, settings.tokens({}, Vocabulary()), None)
    if found is None or found.read is None or not _has(folder, found.files):
        raise CheckpointError(
            f"{folder} has no {FILE}, and for model_type {kind!r} qkv cannot build it from the "
            "other files; write it with transformers: "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    return found.build(settings, found.read(settings))


def class_of(folder: Path, kind: str) -> str:
    """Return the name of the class that opens a folder; see `choose_class`."""
    config, settings = (
        read_json(folder / name) if _has(folder, (name,)) else {}
        for name in ("config.json", SETTINGS)
    )
    return choose_class(folder, kind, config, settings)


def _has(folder: Path, names: Sequence[str]) -> bool:
    return all((folder / name).is_file() for name in names)


def _refuse_other_rules(settings: Settings, kind: str) -> None:
    """Refuse settings that change the tokens and are not implemented."""
    if settings.values.get("fix_mistral_regex") and kind in _MENDED:
        raise CheckpointError(
            f"{settings.folder / SETTINGS} sets fix_mistral_regex, which is not implemented."
        )
    names = settings.values.get("fast_tokenizer_files") or ()
    if any(name != FILE for name in names):
        raise CheckpointError(
            f"{settings.folder / SETTINGS}: fast_tokenizer_files names files other than {FILE}, "
            "which is not implemented."
        )


def _word_pieces(
    defaults: Mapping[str, str],
    template: Template,
    styles: Mapping[str, Mapping[str, bool]] | None = None,
) -> Build:
    def build(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
        tokens = settings.tokens(defaults, vocabulary, styles=styles)
        is_open = settings.values.get("strip_accents") is None
        found = Tokenizer(models.WordPiece(vocabulary.ids, unk_token=tokens.role("unk")))
        found.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=settings.flag("tokenize_chinese_chars", True),
            strip_accents=None if is_open else settings.flag("strip_accents"),
            lowercase=settings.flag("do_lower_case", True),
        )
        found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        found.decoder = decoders.WordPiece(prefix="##")
        return finish(found, settings, tokens, template)

    return build


def _read_lines(settings: Settings) -> Vocabulary:
    lines = (settings.folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return Vocabulary({line: i for i, line in enumerate(lines[:-1] if not lines[-1] else lines)})


def _byte_pairs(
    defaults: Mapping[str, str],
    template: Template | None = None,
    *,
    composes: bool = False,
    keeps_template: bool = True,
) -> Build:
    """GPT-2's byte pairs.

    Args:
        composes: Whether accents are composed first (NFC).
        keeps_template: Whether the template of tokenizer.json counts, where the class has none.
    """

    def build(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
        tokens = settings.tokens(defaults, vocabulary)
        found = Tokenizer(models.BPE(vocabulary.ids, vocabulary.merges))
        found.normalizer = normalizers.NFC() if composes else None
        found.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=settings.flag("add_prefix_space")
        )
        found.decoder = decoders.ByteLevel()
        own: Template | None = template or begin_and_end(settings, tokens)
        if own is not None and template is None and keeps_template:
            own = kept_template(found, vocabulary, own)
        return finish(found, settings, tokens, own)

    return build


def _qwen(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    defaults = {"eos": _END, "unk": _END, "pad": _END}
    tokens = settings.tokens(defaults, vocabulary)
    found = Tokenizer(models.BPE(vocabulary.ids, vocabulary.merges))
    found.normalizer = normalizers.NFC()
    found.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN), "isolated"),
            pre_tokenizers.ByteLevel(
                add_prefix_space=settings.flag("add_prefix_space"), use_regex=False
            ),
        ]
    )
    found.decoder = decoders.ByteLevel()
    finish(
        found, settings, tokens, kept_template(found, vocabulary, begin_and_end(settings, tokens))
    )
    again = (*tokens.by_role.values(), *tokens.more)
    found.add_tokens([AddedToken(str(token.content), special=True) for token in again])
    return found


def _herbert(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    roles = ("unk", "sep", "pad", "cls", "mask")
    tokens = settings.tokens({role: FAIRSEQ[role] for role in roles}, vocabulary)
    found = Tokenizer(
        models.BPE(
            vocabulary.ids,
            vocabulary.merges,
            unk_token=tokens.role("unk"),
            end_of_word_suffix="</w>",
        )
    )
    found.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.decoder = decoders.BPEDecoder(suffix="</w>")
    return finish(found, settings, tokens, BERT)


def _read_pairs(settings: Settings) -> Vocabulary:
    ids, merges = models.BPE.read_file(*(str(settings.folder / name) for name in _PAIRS))
    return Vocabulary(ids, merges)


_PAIRS = ("vocab.json", "merges.txt")
_LINES = ("vocab.txt",)
# What is only named is matched in normalised text, and the mask takes the blanks before it.
_MPNET = {role: {"normalized": True} for role in FAIRSEQ} | {
    "mask": {"normalized": True, "lstrip": True}
}
_of_lines: Callable[[Build], Any] = partial(
    TokenizerClass, models.WordPiece, files=_LINES, read=_read_lines
)
_of_pairs: Callable[[Build], Any] = partial(
    TokenizerClass, models.BPE, files=_PAIRS, read=_read_pairs
)
_CLASSES: dict[str, TokenizerClass] = {
    "BertTokenizer": _of_lines(_word_pieces(CLASSIC, BERT)),
    "MPNetTokenizer": _of_lines(_word_pieces(FAIRSEQ | {"unk": "[UNK]"}, ROBERTA, _MPNET)),
    "GPT2Tokenizer": _of_pairs(_byte_pairs(_GPT)),
    "CodeGenTokenizer": _of_pairs(_byte_pairs(_GPT)),
    "GPTNeoXTokenizer": _of_pairs(
        _byte_pairs(_GPT | {"pad": "<|padding|>"}, composes=True, keeps_template=False)
    ),
    "RobertaTokenizer": _of_pairs(_byte_pairs(FAIRSEQ, ROBERTA)),
    "Qwen2Tokenizer": _of_pairs(_qwen),
    "HerbertTokenizer": _of_pairs(_herbert),
}
