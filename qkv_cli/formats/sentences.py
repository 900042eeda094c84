"""Tokenizers from SentencePiece models alone, as transformers builds them.

For the families whose tokenizer `tokenizers` expresses; ids that a family counts in its own way
(fairseq's) are put in that order.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.rebuilt import (
    BERT,
    CLASSIC,
    ENDED,
    FAIRSEQ,
    ROBERTA,
    Families,
    Settings,
    Template,
    Tokens,
    begun_and_ended,
    finished,
)
from qkv_cli.formats.sentencepiece import CONTROL, NORMAL, OWN, Contents

_SPACE = "\u2581"
_OPENS = {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}
Scored = list[tuple[str, float]]
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


def _t5(settings: Settings) -> Tokenizer:
    model = _model(settings, "spiece.model", merges=False)
    n = settings.said.get("extra_ids", 100)
    extra = [f"<extra_id_{i}>" for i in reversed(range(n))]
    scored = [*_scored(model), *((token, 0.0) for token in extra)]
    tokens = _tokens(settings, {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}, model)
    tokens.more.extend(_special(token) for token in extra)
    found = _unigram(scored, "<unk>", _charsmap(model), _words(spaced=True))
    return finished(found, settings, tokens, ENDED)


def _albert(settings: Settings) -> Tokenizer:
    model, said = _model(settings, "spiece.model", merges=False), settings.said
    rules: list[object] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not said.get("keep_accents", False):
        rules += [normalizers.NFKD(), normalizers.StripAccents()]
    if said.get("do_lower_case", True):
        rules.append(normalizers.Lowercase())
    roles = CLASSIC | {"bos": "[CLS]", "eos": "[SEP]", "unk": "<unk>", "pad": "<pad>"}
    found = _unigram(
        _scored(model), "<unk>", [*rules, *_charsmap(model)], _words(spaced=_spaced(settings))
    )
    return finished(found, settings, _tokens(settings, roles, model), BERT)


def _deberta(settings: Settings) -> Tokenizer:
    model, said = _model(settings, "spm.model", merges=False), settings.said
    rules: list[object] = [normalizers.Lowercase()] if said.get("do_lower_case", False) else []
    rules += [
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ]
    scheme = "always" if _spaced(settings) else "first"
    cuts: list[object] = [pre_tokenizers.Metaspace(_SPACE, scheme)]
    if said.get("split_by_punct", False):
        cuts.insert(0, pre_tokenizers.Punctuation("isolated"))
    found = _unigram(_scored(model), "[UNK]", rules, cuts)
    roles = CLASSIC | {"bos": "[CLS]", "eos": "[SEP]"}
    return finished(found, settings, _tokens(settings, roles, model), BERT)


def _fairseq(
    head: Scored, skipped: int, tail: list[str], template: Template | None, *, more: list[str]
) -> Callable[[Settings], Tokenizer]:
    """Pieces behind ids of fairseq's own.

    Args:
        head: What has the first ids.
        skipped: Pieces of the file in whose place it stands.
        tail: What has the last ids, before the mask.
        more: Special tokens besides.
    """

    def build(settings: Settings) -> Tokenizer:
        model = _model(settings, "sentencepiece.bpe.model", merges=False)
        scored = [*head, *_scored(model)[skipped:], *((t, 0.0) for t in (*tail, "<mask>"))]
        tokens = _tokens(settings, FAIRSEQ, model, lstrip=bool(more))
        tokens.more.extend(map(_special, more))
        rules = [] if tail else _charsmap(model)  # mBART's are left out
        found = _unigram(scored, "<unk>", rules, _words(spaced=_spaced(settings)))
        return finished(found, settings, tokens, template)

    return build


def _mbart50(settings: Settings) -> Tokenizer:
    """mBART's ids with more languages behind them, and the file's rules, which mBART leaves out."""
    model = _model(settings, "sentencepiece.bpe.model", merges=False)
    codes = [*MBART, *_MORE_IN_50.split()]
    scored = [*_HEAD, *_scored(model)[3:], *((token, 0.0) for token in (*codes, "<mask>"))]
    tokens = _tokens(settings, FAIRSEQ, model, lstrip=True)
    tokens.more.extend(map(_special, codes))
    rules = [*_charsmap(model), normalizers.Replace(Regex(" {2,}"), " ")]
    found = _unigram(scored, "<unk>", rules, [pre_tokenizers.Metaspace(_SPACE, "always")])
    return finished(found, settings, tokens, None)


def _pegasus(settings: Settings) -> Tokenizer:
    model = _model(settings, "spiece.model", merges=False)
    offset = settings.said.get("offset", 103)
    masks = [settings.said.get("mask_token", "<mask_2>")]
    masks.append(settings.said.get("mask_token_sent", "<mask_1>"))
    unused = [f"<unk_{i}>" for i in range(2, offset)]
    head: Scored = [("<pad>", 0.0), ("</s>", 0.0)]
    head += [(str(mask), 0.0) for mask in dict.fromkeys(masks) if mask is not None]
    head += [(token, -100.0) for token in unused]
    rules = [*_charsmap(model), normalizers.Replace(Regex(" {2,}"), " ")]
    if not model.charsmap:
        rules.insert(0, normalizers.Replace(Regex(r"\n"), " "))
    tokens = _tokens(
        settings, {"eos": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask_2>"}, model
    )
    tokens.more.extend(_special(str(token)) for token in (masks[1], *unused) if token is not None)
    cut: list[object] = [pre_tokenizers.Metaspace(_SPACE, "always")]
    found = _unigram([*head, *_scored(model)[2:]], "<unk>", rules, cut)
    return finished(found, settings, tokens, ("$A eos", "$A $B eos"))


def _gemma(settings: Settings) -> Tokenizer:
    model = _model(settings, "tokenizer.model", merges=True)
    ids = {piece: i for i, piece in enumerate(model.pieces)}
    merges = [
        (ids[left + right], len(left), len(right), left, right)
        for left, right in _pairs(ids, set(ids))
    ]
    found = Tokenizer(
        models.BPE(
            ids,
            [(left, right) for *_, left, right in sorted(merges)],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    found.normalizer = normalizers.Replace(" ", _SPACE)
    found.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    roles = {"bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    tokens = _tokens(settings, roles, model)
    return finished(found, settings, tokens, begun_and_ended(settings, tokens))


def _llama(settings: Settings) -> Tokenizer:
    """By the file's own rules, with merges in the order of their scores."""
    model = _model(settings, "tokenizer.model", merges=True)
    if OWN in model.kinds:
        raise CheckpointError("A tokenizer.model with pieces of a user's own is not implemented.")
    ids = {piece: i for i, piece in enumerate(model.pieces)}
    normal = {p for p, kind in zip(model.pieces, model.kinds, strict=True) if kind == NORMAL}
    ranked = [
        (-model.scores[ids[left + right]], ids[left + right], left, right)
        for left, right in _pairs(normal, normal)
    ]
    found = Tokenizer(
        models.BPE(
            ids,
            [(left, right) for *_, left, right in sorted(ranked)],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=bool(model.trainer.get(35, 0)),
        )
    )
    legacy, rules = settings.said.get("legacy", True), _charsmap(model)
    if model.rules.get(4, 1):
        rules += [
            normalizers.Replace(Regex(r"\A +| +\z"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    rules.append(normalizers.Replace(" ", _SPACE))
    if model.rules.get(3, 1):
        if legacy:
            rules.append(normalizers.Replace(Regex(rf"\A{_SPACE}"), _SPACE * 2))
        scheme = "always" if legacy else "first"
        found.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, scheme, split=False)
    found.normalizer = normalizers.Sequence(rules)
    tokens = _tokens(settings, _OPENS, model)
    return finished(found, settings, tokens, begun_and_ended(settings, tokens))


def _model(settings: Settings, name: str, *, merges: bool) -> Contents:
    path: Path = settings.folder / name
    found = Contents.open(path)
    if found.merges != merges:
        kind = "byte pairs" if merges else "unigrams"
        raise CheckpointError(f"{path} should hold {kind}, as this family's tokenizers do.")
    return found


def _scored(model: Contents) -> Scored:
    return list(zip(model.pieces, model.scores, strict=True))


def _pairs(pieces: set[str] | dict[str, int], known: set[str]) -> list[tuple[str, str]]:
    """Every way in which a piece is made of two others."""
    return [
        (piece[:at], piece[at:])
        for piece in pieces
        for at in range(1, len(piece))
        if piece[:at] in known and piece[at:] in known
    ]


def _charsmap(model: Contents) -> list[object]:
    return [normalizers.Precompiled(model.charsmap)] if model.charsmap else []


def _words(*, spaced: bool) -> list[object]:
    scheme = "always" if spaced else "never"
    return [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(_SPACE, scheme)]


def _spaced(settings: Settings) -> bool:
    return bool(settings.said.get("add_prefix_space", True))


def _unigram(scored: Scored, unknown: str, rules: list[object], cuts: list[object]) -> Tokenizer:
    pieces = [piece for piece, _ in scored]
    if unknown not in pieces:
        raise CheckpointError(f"A SentencePiece model has no {unknown!r}.")
    found = Tokenizer(models.Unigram(scored, pieces.index(unknown), False))
    if rules:
        found.normalizer = normalizers.Sequence(rules)
    found.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    return found


def _tokens(
    settings: Settings, roles: dict[str, str], model: Contents, *, lstrip: bool = False
) -> Tokens:
    """Those of the roles, and those that the file itself sets apart."""
    found = settings.tokens(roles, lstrip=("mask",) if lstrip else ())
    found.more.extend(
        AddedToken(piece, normalized=False, special=kind == CONTROL)
        for piece, kind in zip(model.pieces, model.kinds, strict=True)
        if kind in (CONTROL, OWN)
    )
    return found


def _special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)


_HEAD: Scored = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
_NOT_USED = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"]
_CAMEMBERT: Scored = [
    ("<s>NOTUSED", 0.0),
    ("<pad>", 0.0),
    ("</s>NOTUSED", 0.0),
    ("<unk>", 0.0),
    ("<unk>NOTUSED", -100.0),
]
FAMILIES: tuple[Families, ...] = (
    (("spiece.model",), {"t5": _t5, "mt5": _t5, "albert": _albert, "pegasus": _pegasus}),
    (("spm.model",), {"deberta-v2": _deberta}),
    (
        ("sentencepiece.bpe.model",),
        {
            "xlm-roberta": _fairseq(_HEAD, 3, [], ROBERTA, more=[]),
            "camembert": _fairseq(_CAMEMBERT, 1, [], ROBERTA, more=_NOT_USED),
            "mbart": _fairseq(_HEAD, 3, MBART, None, more=MBART),
            "mbart50": _mbart50,
        },
    ),
    (
        ("tokenizer.model",),
        {
            **dict.fromkeys(("llama", "mistral", "mixtral"), _llama),
            **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), _gemma),
        },
    ),
)
