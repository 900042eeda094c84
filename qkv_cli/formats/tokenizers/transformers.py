"""Tokenizers built as the tokenizer classes of transformers 5.24 build them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.folder import read_json
from qkv_cli.formats.tokenizers.classes import BACKEND, choose_class
from qkv_cli.formats.tokenizers.library import open_tokenizer_file
from qkv_cli.formats.tokenizers.vocabulary import (
    FILE,
    SETTINGS,
    ScoredPieces,
    Settings,
    Template,
    Tokens,
    Vocabulary,
    bos_eos_template,
    content,
    finish_tokenizer,
    keep_template,
    read_vocabulary,
)

if TYPE_CHECKING:
    from qkv_cli.formats.tokenizers.sentencepiece import Contents

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
# transformers before version 5 wrote a wrong rule for these; a setting requests a fix.
_FIXED = ("mistral", "mistral3", "voxtral", "ministral", "pixtral")
Build = Callable[[Settings, Vocabulary], Tokenizer]
ReadVocabulary = Callable[[Settings], Vocabulary]


@dataclass(frozen=True, slots=True)
class TokenizerClass:
    """How a class builds its tokenizer.

    Attributes:
        model: The model it builds, which tokenizer.json must contain.
        files: Other files with the vocabulary, which `read_files` reads.
    """

    model: type
    build: Build
    files: tuple[str, ...] = ()
    read_files: ReadVocabulary | None = None


def open_tokenizer(folder: Path, kind: str) -> Tokenizer:
    """Build the tokenizer of a folder.

    Args:
        kind: `model_type` of its config.

    Raises:
        CheckpointError: There is none, or its class is not implemented.
    """

    settings = Settings.read(folder)
    _refuse_other_rules(settings, kind)
    name = class_of(folder, kind)
    tokenizer_class = {**_WORD_PIECE_AND_BPE_CLASSES, **_SENTENCEPIECE_CLASSES}.get(name)
    if (folder / FILE).is_file():
        if tokenizer_class is not None and name != BACKEND:
            vocabulary = read_vocabulary(folder / FILE, name, tokenizer_class.model)
            if vocabulary is not None:
                return tokenizer_class.build(settings, vocabulary)
        tokenizer = open_tokenizer_file(folder / FILE)
        return finish_tokenizer(tokenizer, settings, settings.tokens({}, Vocabulary()), None)
    if (
        tokenizer_class is None
        or tokenizer_class.read_files is None
        or not _has(folder, tokenizer_class.files)
    ):
        raise CheckpointError(
            f"{folder} has no {FILE}, and for model_type {kind!r} qkv cannot build it from the "
            "other files; write it with transformers: "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    return tokenizer_class.build(settings, tokenizer_class.read_files(settings))


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
    if settings.values.get("fix_mistral_regex") and kind in _FIXED:
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
        follows_lower_case = settings.values.get("strip_accents") is None
        tokenizer = Tokenizer(models.WordPiece(vocabulary.ids, unk_token=tokens.role("unk")))
        tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=settings.flag("tokenize_chinese_chars", True),
            strip_accents=None if follows_lower_case else settings.flag("strip_accents"),
            lowercase=settings.flag("do_lower_case", True),
        )
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(prefix="##")
        return finish_tokenizer(tokenizer, settings, tokens, template)

    return build


def _read_vocab_txt(settings: Settings) -> Vocabulary:
    lines = (settings.folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return Vocabulary({line: i for i, line in enumerate(lines[:-1] if not lines[-1] else lines)})


def _byte_pairs(
    defaults: Mapping[str, str],
    template: Template | None = None,
    *,
    composes: bool = False,
    keeps_template: bool = True,
) -> Build:
    """Return the class of GPT-2's byte-level BPE.

    Args:
        composes: Whether text is normalized to NFC first.
        keeps_template: Whether the template of tokenizer.json is kept if the class has none.
    """

    def build(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
        tokens = settings.tokens(defaults, vocabulary)
        tokenizer = Tokenizer(models.BPE(vocabulary.ids, vocabulary.merges))
        tokenizer.normalizer = normalizers.NFC() if composes else None
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=settings.flag("add_prefix_space")
        )
        tokenizer.decoder = decoders.ByteLevel()
        own_template: Template | None = template or bos_eos_template(settings, tokens)
        if own_template is not None and template is None and keeps_template:
            own_template = keep_template(tokenizer, vocabulary, own_template)
        return finish_tokenizer(tokenizer, settings, tokens, own_template)

    return build


def _qwen(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    defaults = {"eos": _END, "unk": _END, "pad": _END}
    tokens = settings.tokens(defaults, vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary.ids, vocabulary.merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN), "isolated"),
            pre_tokenizers.ByteLevel(
                add_prefix_space=settings.flag("add_prefix_space"), use_regex=False
            ),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    finish_tokenizer(
        tokenizer,
        settings,
        tokens,
        keep_template(tokenizer, vocabulary, bos_eos_template(settings, tokens)),
    )
    special_tokens = (*tokens.by_role.values(), *tokens.additional_tokens)
    tokenizer.add_tokens([AddedToken(str(token.content), special=True) for token in special_tokens])
    return tokenizer


def _herbert(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    roles = ("unk", "sep", "pad", "cls", "mask")
    tokens = settings.tokens({role: FAIRSEQ[role] for role in roles}, vocabulary)
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary.ids,
            vocabulary.merges,
            unk_token=tokens.role("unk"),
            end_of_word_suffix="</w>",
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return finish_tokenizer(tokenizer, settings, tokens, BERT)


def _read_vocab_and_merges(settings: Settings) -> Vocabulary:
    ids, merges = models.BPE.read_file(*(str(settings.folder / name) for name in _PAIRS))
    return Vocabulary(ids, merges)


_PAIRS = ("vocab.json", "merges.txt")
_LINES = ("vocab.txt",)
# Tokens that are only named match normalized text; the mask includes the spaces before it.
_MPNET = {role: {"normalized": True} for role in FAIRSEQ} | {
    "mask": {"normalized": True, "lstrip": True}
}
_from_vocab_txt: Callable[[Build], Any] = partial(
    TokenizerClass, models.WordPiece, files=_LINES, read_files=_read_vocab_txt
)
_from_vocab_and_merges: Callable[[Build], Any] = partial(
    TokenizerClass, models.BPE, files=_PAIRS, read_files=_read_vocab_and_merges
)
_WORD_PIECE_AND_BPE_CLASSES: dict[str, TokenizerClass] = {
    "BertTokenizer": _from_vocab_txt(_word_pieces(CLASSIC, BERT)),
    "MPNetTokenizer": _from_vocab_txt(_word_pieces(FAIRSEQ | {"unk": "[UNK]"}, ROBERTA, _MPNET)),
    "GPT2Tokenizer": _from_vocab_and_merges(_byte_pairs(_GPT)),
    "CodeGenTokenizer": _from_vocab_and_merges(_byte_pairs(_GPT)),
    "GPTNeoXTokenizer": _from_vocab_and_merges(
        _byte_pairs(_GPT | {"pad": "<|padding|>"}, composes=True, keeps_template=False)
    ),
    "RobertaTokenizer": _from_vocab_and_merges(_byte_pairs(FAIRSEQ, ROBERTA)),
    "Qwen2Tokenizer": _from_vocab_and_merges(_qwen),
    "HerbertTokenizer": _from_vocab_and_merges(_herbert),
}


_SPACE = "\u2581"
_LLAMA_ROLES = {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}
# The field numbers of the id and the token of a role; an id of -1 means none.
_ROLE_FIELDS = {"unk": (40, 45), "bos": (41, 46), "eos": (42, 47)}
_NO_ID = 2**64 - 1
_WITH_EOS: Template = ("$A eos", "$A eos $B eos")
_WITH_BOS_AND_EOS: Template = ("bos $A eos", "bos $A eos eos $B eos")
# For encoder-decoders; the templates of their decoders are in `translators`.
_LANGUAGE_FIRST: Template = ("language $A eos", "language $A $B eos")
_LANGUAGE_LAST: Template = ("$A eos language", "$A $B eos language")
_BLANKS = normalizers.Replace(Regex(" {2,}"), " ")
MBART = [
    "ar_AR",
    "cs_CZ",
    "de_DE",
    "en_XX",
    "es_XX",
    "et_EE",
    "fi_FI",
    "fr_XX",
    "gu_IN",
    "hi_IN",
    "it_IT",
    "ja_XX",
    "kk_KZ",
    "ko_KR",
    "lt_LT",
    "lv_LV",
    "my_MM",
    "ne_NP",
    "nl_XX",
    "ro_RO",
    "ru_RU",
    "si_LK",
    "tr_TR",
    "vi_VN",
    "zh_CN",
]

_MORE_IN_50 = (
    "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF "
    "pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)


def _t5(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    roles = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
    extra_ids = [_special(f"<extra_id_{i}>") for i in range(settings.number("extra_ids", 100))]
    tokens = settings.tokens(roles, vocabulary, extra_ids)
    tokenizer = _unigram(vocabulary, 2, _charsmap(vocabulary), _split_at_spaces(adds_space=True))
    return finish_tokenizer(tokenizer, settings, tokens, _WITH_EOS)


def _albert(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    rules: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.flag("keep_accents"):
        rules += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.flag("do_lower_case", True):
        rules.append(normalizers.Lowercase())
    rules += _charsmap(vocabulary)
    roles = CLASSIC | {"bos": "[CLS]", "eos": "[SEP]", "unk": "<unk>", "pad": "<pad>"}
    tokenizer = _unigram(
        vocabulary, 1, rules, _split_at_spaces(adds_space=settings.flag("add_prefix_space", True))
    )
    tokens = settings.tokens(roles, vocabulary)
    template = bos_eos_template(settings, tokens) if settings.states_bos_or_eos else BERT
    return finish_tokenizer(
        tokenizer, settings, tokens, keep_template(tokenizer, vocabulary, template)
    )


def _deberta(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    rules: list[Any] = [normalizers.Lowercase()] if settings.flag("do_lower_case") else []
    rules += [
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ]
    scheme = "always" if settings.flag("add_prefix_space", True) else "first"
    splitting_steps: list[Any] = [pre_tokenizers.Metaspace(_SPACE, scheme)]
    if settings.flag("split_by_punct"):
        splitting_steps.insert(0, pre_tokenizers.Punctuation("isolated"))
    tokens = settings.tokens(CLASSIC | {"bos": "[CLS]", "eos": "[SEP]"}, vocabulary)
    unknown_id = (
        vocabulary.unknown_id if vocabulary.unknown_id is not None else settings.number("unk_id", 1)
    )
    unknown = _unknown_id(vocabulary, tokens.role("unk"), unknown_id)
    return finish_tokenizer(
        _unigram(vocabulary, unknown, rules, splitting_steps), settings, tokens, BERT
    )


def _xlm_roberta(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    tokens = settings.tokens(FAIRSEQ, vocabulary)
    splitting_steps = _split_at_spaces(adds_space=settings.flag("add_prefix_space", True))
    return finish_tokenizer(
        _unigram(vocabulary, 3, _charsmap(vocabulary), splitting_steps),
        settings,
        tokens,
        _WITH_BOS_AND_EOS,
    )


def _camembert(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    tokens = settings.tokens(
        FAIRSEQ, vocabulary, [_special(t) for t in _NOT_USED], {"mask": {"lstrip": True}}
    )
    pieces = [piece for piece, _ in vocabulary.scored_pieces]
    name = tokens.role("unk")
    unknown = pieces.index(name) if name in pieces else 0
    splitting_steps = _split_at_spaces(adds_space=settings.flag("add_prefix_space", True))
    return finish_tokenizer(
        _unigram(vocabulary, unknown, _charsmap(vocabulary), splitting_steps),
        settings,
        tokens,
        _WITH_BOS_AND_EOS,
    )


def _mbart(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    """Build mBART's tokenizer, without the file's normalization rules."""
    style = {"mask": {"lstrip": True, "normalized": True}}
    tokens = settings.tokens(FAIRSEQ, vocabulary, [_special(code) for code in MBART], style)
    tokenizer = _unigram(vocabulary, 3, [], _split_at_spaces(adds_space=True))
    return finish_tokenizer(
        tokenizer, settings, _in_language(settings, tokens, "en_XX"), _LANGUAGE_LAST
    )


def _mbart50(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    """Build mBART-50's tokenizer, with more languages and the file's normalization rules."""
    codes = [*MBART, *_MORE_IN_50.split()]
    if not {piece for piece, _ in vocabulary.scored_pieces} & {*codes}:
        raise CheckpointError(
            f"{settings.folder}: the vocabulary has no mBART-50 language code, such as en_XX."
        )
    language_codes = [_special(code) for code in codes]
    tokens = settings.tokens(FAIRSEQ, vocabulary, language_codes, {"mask": {"lstrip": True}})
    rules = [*_charsmap(vocabulary), _BLANKS]
    tokenizer = _unigram(vocabulary, 3, rules, [pre_tokenizers.Metaspace(_SPACE, "always")])
    return finish_tokenizer(
        tokenizer, settings, _in_language(settings, tokens, "en_XX"), _LANGUAGE_FIRST
    )


def _nllb(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    style = {"mask": {"lstrip": True, "normalized": True}}
    tokens = settings.tokens(FAIRSEQ, vocabulary, (), style)
    tokenizer = Tokenizer(
        models.BPE(vocabulary.ids, vocabulary.merges, unk_token=tokens.role("unk"), fuse_unk=True)
    )
    if vocabulary.charsmap:
        tokenizer.normalizer = normalizers.Sequence([*_charsmap(vocabulary), _BLANKS])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, "always")
    tokenizer.decoder = decoders.Metaspace(_SPACE, "always")
    is_legacy = settings.flag("legacy_behaviour")
    template = _LANGUAGE_LAST if is_legacy else _LANGUAGE_FIRST
    return finish_tokenizer(
        tokenizer, settings, _in_language(settings, tokens, "eng_Latn"), template
    )


def _in_language(settings: Settings, tokens: Tokens, default_language: str) -> Tokens:
    """Return the same tokens, with a template name for the language of a text."""
    return replace(tokens, language=str(settings.values.get("src_lang") or default_language))


def _pegasus(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    values = settings.values
    sentence = values.get("mask_token_sent", "<mask_1>")
    mask_tokens = [] if sentence is None else [_special(str(sentence))]
    unused_tokens = [_special(f"<unk_{i}>") for i in range(2, settings.number("offset", 103))]
    rules = [*_charsmap(vocabulary), _BLANKS]
    if not vocabulary.charsmap:
        rules.insert(0, normalizers.Replace(Regex(r"\n"), " "))
    roles = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask_2>"}
    # The class ignores the special tokens of a SentencePiece model.
    tokens = settings.tokens(
        roles, replace(vocabulary, special_tokens=()), [*mask_tokens, *unused_tokens]
    )
    unknown = _unknown_id(vocabulary, tokens.role("unk"), None)
    splitting_steps = [pre_tokenizers.Metaspace(_SPACE, "always")]
    tokenizer = _unigram(vocabulary, unknown, rules, splitting_steps)
    return finish_tokenizer(tokenizer, settings, tokens, ("$A eos", "$A $B eos"))


def _gemma(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    roles = {"bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    tokens = settings.tokens(roles, vocabulary)
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary.ids,
            vocabulary.merges,
            unk_token=tokens.role("unk"),
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = _decoder(strips_space=False)
    return finish_tokenizer(
        tokenizer,
        settings,
        tokens,
        keep_template(tokenizer, vocabulary, bos_eos_template(settings, tokens)),
    )


def _llama(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    """Build Llama's tokenizer, with its own way of adding a space before the text."""
    tokens = settings.tokens(_LLAMA_ROLES, vocabulary)
    adds_space = settings.flag("add_prefix_space", True)
    scheme = "always" if settings.flag("legacy") else "first"
    tokenizer = _metaspace_bpe(vocabulary, scheme if adds_space else "never", None)
    tokenizer.decoder = _decoder(strips_space=adds_space)
    return finish_tokenizer(
        tokenizer,
        settings,
        tokens,
        keep_template(tokenizer, vocabulary, bos_eos_template(settings, tokens)),
    )


def _code_llama(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    """Build Code Llama's tokenizer, with BOS by default and infilling tokens."""
    parts = {"prefix": "<PRE>", "middle": "<MID>", "suffix": "<SUF>", "eot": "<EOT>"}
    roles = (
        _LLAMA_ROLES | {role: _SPACE + name for role, name in parts.items()} | {"fill": "<FILL_ME>"}
    )
    tokens = settings.tokens(roles, vocabulary)
    scheme = "first" if settings.flag("add_prefix_space", True) else "never"
    tokenizer = _metaspace_bpe(vocabulary, scheme, tokens.role("unk"))
    tokenizer.decoder = _decoder(strips_space=True)
    return finish_tokenizer(
        tokenizer, settings, tokens, bos_eos_template(settings, tokens, adds_bos=True)
    )


def _metaspace_bpe(vocabulary: Vocabulary, scheme: Any, unknown: str | None) -> Tokenizer:
    model = models.BPE(
        vocabulary.ids, vocabulary.merges, unk_token=unknown, fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, scheme, split=False)
    return tokenizer


def _from_sentencepiece(settings: Settings, vocabulary: Vocabulary) -> Tokenizer:
    """Build a tokenizer from a SentencePiece model by its own rules, with merges by score."""
    from qkv_cli.formats.tokenizers.sentencepiece import USER_DEFINED

    del vocabulary  # it is empty: this class needs more of the file than a vocabulary
    model = _model(settings, "tokenizer.model", merges=True)
    if USER_DEFINED in model.kinds:
        raise CheckpointError(
            f"{settings.folder / 'tokenizer.model'} has user-defined pieces, which are not "
            "implemented."
        )
    is_legacy, adds_space = settings.flag("legacy", True), bool(model.normalizer.get(3, 1))
    tokenizer = Tokenizer(_bpe_by_score(model))
    tokenizer.normalizer = _sentencepiece_normalizer(model, repeats_space=is_legacy and adds_space)
    if adds_space:
        scheme: Any = "always" if is_legacy else "first"
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, scheme, split=False)
    tokenizer.decoder = _decoder(strips_space=adds_space)
    roles = {role: name for role in _LLAMA_ROLES if (name := _role_piece(model, role)) is not None}
    tokens = settings.tokens(roles, Vocabulary(special_tokens=_special_pieces(model)))
    return finish_tokenizer(tokenizer, settings, tokens, bos_eos_template(settings, tokens))


def _bpe_by_score(model: Contents) -> models.BPE:
    from qkv_cli.formats.tokenizers.sentencepiece import NORMAL

    ids = {piece: i for i, piece in enumerate(model.pieces)}
    normal_pieces = {p for p, kind in zip(model.pieces, model.kinds, strict=True) if kind == NORMAL}
    ranked_merges = [
        (-model.scores[ids[left + right]], ids[left + right], left, right)
        for left, right in _pairs(normal_pieces, normal_pieces)
    ]
    return models.BPE(
        ids,
        [(left, right) for *_, left, right in sorted(ranked_merges)],
        unk_token=_role_piece(model, "unk") or "<unk>",
        fuse_unk=True,
        byte_fallback=bool(model.trainer.get(35, 0)),
    )


def _sentencepiece_normalizer(model: Contents, *, repeats_space: bool) -> Any:
    """Return the normalizer of a SentencePiece model.

    Args:
        repeats_space: Whether a space at the start of the text is doubled.
    """
    from qkv_cli.formats.tokenizers.sentencepiece import checked_charsmap

    rules: list[Any] = (
        [normalizers.Precompiled(checked_charsmap(model.charsmap))] if model.charsmap else []
    )
    if model.normalizer.get(4, 1):
        rules += [normalizers.Replace(Regex(r"\A +| +\z"), ""), _BLANKS]
    rules.append(normalizers.Replace(" ", _SPACE))
    if repeats_space:
        rules.append(normalizers.Replace(Regex(rf"\A{_SPACE}"), _SPACE * 2))
    return normalizers.Sequence(rules)


def _role_piece(model: Contents, role: str) -> str | None:
    """Return the file's token of a role; None if it has none."""
    id, piece = _ROLE_FIELDS[role]
    if model.trainer.get(id, 0) == _NO_ID:
        return None
    name = model.trainer.get(piece)
    return name.decode() if isinstance(name, bytes) else _LLAMA_ROLES[role]


def _decoder(*, strips_space: bool) -> Any:
    """Return a decoder of tokens and bytes.

    Args:
        strips: Whether to remove the space that the tokenizer adds before the text.
    """
    steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strips_space else steps)


def _read_pieces(name: str, settings: Settings) -> Vocabulary:
    model = _model(settings, name, merges=False)
    return _vocabulary(model, _scored_pieces(model))


def _read_t5(settings: Settings) -> Vocabulary:
    model = _model(settings, "spiece.model", merges=False)
    extra_ids = reversed(range(settings.number("extra_ids", 100)))
    return _vocabulary(
        model, [*_scored_pieces(model), *((f"<extra_id_{i}>", 0.0) for i in extra_ids)]
    )


def _read_pegasus(settings: Settings) -> Vocabulary:
    model, values = _model(settings, "spiece.model", merges=False), settings.values
    masks = values.get("mask_token", "<mask_1>"), values.get("mask_token_sent", "<mask_2>")
    first_tokens = values.get("pad_token", "<pad>"), values.get("eos_token", "</s>")
    first_pieces: ScoredPieces = [(content(token), 0.0) for token in first_tokens]
    first_pieces += [(mask, 0.0) for mask in dict.fromkeys(map(content, masks)) if mask != "None"]
    first_pieces += [(f"<unk_{i}>", -100.0) for i in range(2, settings.number("offset", 103))]
    return _vocabulary(model, [*first_pieces, *_scored_pieces(model)[2:]])


def _read_fairseq(
    head: ScoredPieces, skipped: int, tail: list[str], begin: str, settings: Settings
) -> Vocabulary:
    """Read tokens whose ids follow fairseq's.

    Args:
        head: The first tokens, by their usual names.
        begin: The role of the first of them.
        skipped: The number of the file's tokens that it replaces.
        tail: The last tokens, before the mask.
    """
    model = _model(settings, "sentencepiece.bpe.model", merges=False)
    roles = {"<s>": begin, "<pad>": "pad", "</s>": "eos", "<unk>": "unk", "<mask>": "mask"}
    names = {
        usual: content(settings.values.get(f"{role}_token", usual)) for usual, role in roles.items()
    }
    first_pieces = [(names.get(usual, usual), score) for usual, score in head]
    last_pieces = ((token, 0.0) for token in (*tail, names["<mask>"]))
    return _vocabulary(model, [*first_pieces, *_scored_pieces(model)[skipped:], *last_pieces])


def _read_merges(settings: Settings) -> Vocabulary:
    model = _model(settings, "tokenizer.model", merges=True)
    ids = {piece: i for i, piece in enumerate(model.pieces)}
    merges = [
        (ids[left + right], len(left), len(right), left, right)
        for left, right in _pairs(ids, set(ids))
    ]
    sorted_merges = [(left, right) for *_, left, right in sorted(merges)]
    return Vocabulary(ids, sorted_merges, special_tokens=_special_pieces(model))


def _vocabulary(model: Contents, scored_pieces: ScoredPieces) -> Vocabulary:
    from qkv_cli.formats.tokenizers.sentencepiece import UNKNOWN

    unknown = model.kinds.index(UNKNOWN)
    return Vocabulary(
        scored_pieces=scored_pieces,
        charsmap=model.charsmap,
        unknown_id=unknown,
        special_tokens=_special_pieces(model),
    )


def _special_pieces(model: Contents) -> list[AddedToken]:
    from qkv_cli.formats.tokenizers.sentencepiece import CONTROL, USER_DEFINED

    return [
        AddedToken(piece, normalized=False, special=kind == CONTROL)
        for piece, kind in zip(model.pieces, model.kinds, strict=True)
        if kind in (CONTROL, USER_DEFINED)
    ]


def _model(settings: Settings, name: str, *, merges: bool) -> Contents:
    from qkv_cli.formats.tokenizers.sentencepiece import Contents

    path: Path = settings.folder / name
    contents = Contents.open(path)
    if contents.is_bpe != merges:
        kinds = "a unigram", "a BPE"
        raise CheckpointError(
            f"{path} is {kinds[contents.is_bpe]} model; this tokenizer needs {kinds[merges]} model."
        )
    return contents


def _scored_pieces(model: Contents) -> ScoredPieces:
    return list(zip(model.pieces, model.scores, strict=True))


def _pairs(pieces: set[str] | dict[str, int], known_pieces: set[str]) -> list[tuple[str, str]]:
    """Return every pair of tokens that forms another one."""
    return [
        (piece[:at], piece[at:])
        for piece in pieces
        for at in range(1, len(piece))
        if piece[:at] in known_pieces and piece[at:] in known_pieces
    ]


def _charsmap(vocabulary: Vocabulary) -> list[Any]:
    if not vocabulary.charsmap:
        return []
    from qkv_cli.formats.tokenizers.sentencepiece import checked_charsmap

    return [normalizers.Precompiled(checked_charsmap(vocabulary.charsmap))]


def _split_at_spaces(*, adds_space: bool) -> list[Any]:
    scheme: Any = "always" if adds_space else "never"
    return [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(_SPACE, scheme)]


def _unknown_id(vocabulary: Vocabulary, unknown: str, default_id: int | None) -> int:
    """Return the id of the unknown token, whose score must be 0."""
    if (unknown, 0.0) in vocabulary.scored_pieces:
        return vocabulary.scored_pieces.index((unknown, 0.0))
    if default_id is None:
        raise CheckpointError(f"The vocabulary has no unknown token {unknown!r} with score 0.")
    return default_id


def _unigram(
    vocabulary: Vocabulary, unknown: int, rules: list[Any], splitting_steps: list[Any]
) -> Tokenizer:
    if unknown >= len(vocabulary.scored_pieces):
        raise CheckpointError(
            f"The unknown token has id {unknown}, but the vocabulary has "
            f"{len(vocabulary.scored_pieces)} tokens."
        )
    tokenizer = Tokenizer(models.Unigram(vocabulary.scored_pieces, unknown, False))
    if rules:
        tokenizer.normalizer = normalizers.Sequence(rules)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splitting_steps)
    return tokenizer


def _special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)


_HEAD: ScoredPieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
_NOT_USED = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"]
_CAMEMBERT: ScoredPieces = [
    ("<s>NOTUSED", 0.0),
    ("<pad>", 0.0),
    ("</s>NOTUSED", 0.0),
    ("<unk>", 0.0),
    ("<unk>NOTUSED", -100.0),
]
_FAIRSEQ, _PIECES, _MERGES = "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"


def _from_unigrams(
    build: Build, file: str, read_files: Callable[[Settings], Vocabulary]
) -> TokenizerClass:
    return TokenizerClass(model=models.Unigram, build=build, files=(file,), read_files=read_files)


def _from_fairseq(
    build: Build, head: ScoredPieces, skipped: int, tail: list[str], begin: str = "bos"
) -> TokenizerClass:
    return _from_unigrams(build, _FAIRSEQ, partial(_read_fairseq, head, skipped, tail, begin))


_SENTENCEPIECE_CLASSES = {
    "T5Tokenizer": _from_unigrams(_t5, _PIECES, _read_t5),
    "AlbertTokenizer": _from_unigrams(_albert, _PIECES, partial(_read_pieces, _PIECES)),
    "PegasusTokenizer": _from_unigrams(_pegasus, _PIECES, _read_pegasus),
    "DebertaV2Tokenizer": _from_unigrams(_deberta, "spm.model", partial(_read_pieces, "spm.model")),
    "XLMRobertaTokenizer": _from_fairseq(_xlm_roberta, _HEAD, 3, []),
    "CamembertTokenizer": _from_fairseq(_camembert, _CAMEMBERT, 1, []),
    "MBartTokenizer": _from_fairseq(_mbart, _HEAD, 3, MBART),
    "MBart50Tokenizer": _from_fairseq(_mbart50, _HEAD, 3, [*MBART, *_MORE_IN_50.split()], "cls"),
    "NllbTokenizer": TokenizerClass(models.BPE, _nllb),
    "GemmaTokenizer": TokenizerClass(
        model=models.BPE, build=_gemma, files=(_MERGES,), read_files=_read_merges
    ),
    "LlamaTokenizer": TokenizerClass(
        model=models.BPE, build=_llama, files=(_MERGES,), read_files=_read_merges
    ),
    "CodeLlamaTokenizer": TokenizerClass(
        model=models.BPE, build=_code_llama, files=(_MERGES,), read_files=_read_merges
    ),
    BACKEND: TokenizerClass(
        model=models.BPE,
        build=_from_sentencepiece,
        files=(_MERGES,),
        read_files=lambda _: Vocabulary(),
    ),
}
