"""Tokenizers from the files that were there before tokenizer.json, as transformers builds them.

vocab.txt (word pieces), vocab.json and merges.txt (byte pairs); SentencePiece models are in
`sentences`. The special tokens of a family's template are its own, or what the folder's settings
say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.checkpoints import read_json

SETTINGS = "tokenizer_config.json"
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
# What stands around one text, and around two; a role, or the texts A and B. Types behind colons.
Template = tuple[str, str]
BERT: Template = ("cls $A sep", "cls $A sep $B:1 sep:1")
ROBERTA: Template = ("cls $A sep", "cls $A sep sep $B sep")
ENDED: Template = ("$A eos", "$A eos $B eos")
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


@dataclass(frozen=True, slots=True)
class Settings:
    """What a folder says of its tokenizer."""

    folder: Path
    said: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Settings:
        found: dict[str, Any] = {}
        for name in ("special_tokens_map.json", SETTINGS):
            if (folder / name).is_file():
                found |= read_json(folder / name)
        return cls(folder, found)

    def tokens(self, defaults: dict[str, str], *, lstrip: Sequence[str] = ()) -> Tokens:
        """The special token of each role; null in the settings is none."""
        named = {f"{role}_token": token for role, token in defaults.items()} | self.said
        found = {
            role: _added(named[f"{role}_token"], lstrip=role in lstrip)
            for role in _ROLES
            if named.get(f"{role}_token") is not None
        }
        more = [
            _added(token)
            for name in ("additional_special_tokens", "extra_special_tokens")
            for token in self.said.get(name) or ()
        ]
        return Tokens(found, more)


@dataclass(frozen=True, slots=True)
class Tokens:
    by_role: dict[str, AddedToken]
    more: list[AddedToken]


def rebuilt(folder: Path, kind: str) -> Tokenizer:
    """The tokenizer of a folder without tokenizer.json.

    Args:
        kind: `model_type` of its config.

    Raises:
        CheckpointError: None can be built from what is there.
    """
    from qkv_cli.formats import sentences

    for files, families in (_WORD_PIECES, _BYTE_PAIRS, *sentences.FAMILIES):
        if kind in families and all((folder / name).is_file() for name in files):
            return families[kind](Settings.of(folder))
    raise CheckpointError(
        f"{folder} has no tokenizer.json, and for {kind} none can be built from what is there: "
        "AutoTokenizer.from_pretrained(...).save_pretrained(...) of transformers writes one."
    )


def finished(
    found: Tokenizer, settings: Settings, tokens: Tokens, template: Template | None
) -> Tokenizer:
    """The special tokens, found wherever a text has them, and the template.

    Raises:
        CheckpointError: A token would not have the id that the folder gives it.
    """
    listed = settings.said.get("added_tokens_decoder") or {}
    wanted = {str(described["content"]): int(id) for id, described in listed.items()}
    if (settings.folder / "added_tokens.json").is_file():
        wanted |= read_json(settings.folder / "added_tokens.json")
    described = {str(d["content"]): _added(d) for d in listed.values()}
    in_order = sorted(wanted, key=lambda token: wanted[token])
    found.add_tokens([described.get(t) or _added(t) for t in in_order])
    found.add_tokens([*tokens.by_role.values(), *tokens.more])
    for token, id in wanted.items():
        if found.token_to_id(token) != id:
            raise CheckpointError(
                f"{settings.folder} gives {token!r} the id {id}, and its vocabulary "
                f"{found.token_to_id(token)}."
            )
    if template is not None:
        roles = {role: str(token.content) for role, token in tokens.by_role.items()}
        found.post_processor = _template(found, template, roles)
    return found


def begun_and_ended(settings: Settings, tokens: Tokens) -> Template:
    """What `add_bos_token` and `add_eos_token` ask for."""
    bos, eos = (
        role in tokens.by_role and bool(settings.said.get(f"add_{role}_token"))
        for role in ("bos", "eos")
    )
    single, other = (
        " ".join([f"bos{type}"] * bos + [text] + [f"eos{type}"] * eos)
        for text, type in (("$A", ""), ("$B:1", ":1"))
    )
    return single, f"{single} {other}"


def _template(found: Tokenizer, template: Template, roles: dict[str, str]) -> TemplateProcessing:
    single, pair = (
        [
            part
            if part.startswith("$")
            else roles[part.split(":")[0]] + part[len(part.split(":")[0]) :]
            for part in one.split()
        ]
        for one in template
    )
    used = {part.split(":")[0] for one in template for part in one.split() if part[0] != "$"}
    ids = {roles[role]: found.token_to_id(roles[role]) for role in used}
    return TemplateProcessing(single=single, pair=pair, special_tokens=list(ids.items()))


def _added(token: Any, *, lstrip: bool = False) -> AddedToken:
    """A special token by its name, or as a file describes it."""
    if not isinstance(token, dict):
        return AddedToken(str(token), special=True, normalized=False, lstrip=lstrip)
    known = ("lstrip", "rstrip", "single_word", "normalized", "special")
    kept = {name: bool(token[name]) for name in known if name in token}
    return AddedToken(str(token["content"]), **({"special": True} | kept))


def _word_pieces(
    defaults: dict[str, str], template: Template, lstrip: Sequence[str] = ()
) -> Callable[[Settings], Tokenizer]:
    def build(settings: Settings) -> Tokenizer:
        said, tokens = settings.said, settings.tokens(defaults, lstrip=lstrip)
        lines = (settings.folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        ids = {line: i for i, line in enumerate(lines[:-1] if lines[-1] == "" else lines)}
        unknown = str(tokens.by_role["unk"].content)
        found = Tokenizer(models.WordPiece(ids, unk_token=unknown))
        found.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=said.get("tokenize_chinese_chars", True),
            strip_accents=said.get("strip_accents"),
            lowercase=said.get("do_lower_case", True),
        )
        found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return finished(found, settings, tokens, template)

    return build


def _byte_pairs(
    defaults: dict[str, str], template: Template | None = None, *, cut: str | None = None
) -> Callable[[Settings], Tokenizer]:
    def build(settings: Settings) -> Tokenizer:
        tokens = settings.tokens(defaults)
        folder, spaced = settings.folder, bool(settings.said.get("add_prefix_space", False))
        found = Tokenizer(models.BPE.from_file(*(str(folder / n) for n in _BYTE_PAIRS[0])))
        found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
        if cut is not None:
            found.normalizer = normalizers.NFC()
            found.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(cut), "isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=False),
                ]
            )
        return finished(found, settings, tokens, template or begun_and_ended(settings, tokens))

    return build


_bert = _word_pieces(CLASSIC, BERT)
_gpt2 = _byte_pairs(_GPT)
_roberta = _byte_pairs(FAIRSEQ, ROBERTA)
_qwen = _byte_pairs({"eos": _END, "unk": _END, "pad": _END}, cut=_QWEN)
Families = tuple[tuple[str, ...], dict[str, Callable[[Settings], Tokenizer]]]
_WORD_PIECES: Families = (
    ("vocab.txt",),
    {
        "bert": _bert,
        "distilbert": _bert,
        "electra": _bert,
        "mpnet": _word_pieces(FAIRSEQ | {"unk": "[UNK]"}, ROBERTA, ("mask",)),
    },
)
_BYTE_PAIRS: Families = (
    ("vocab.json", "merges.txt"),
    {
        **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "opt", "phi", "starcoder2"), _gpt2),
        **dict.fromkeys(("bart", "roberta"), _roberta),
        **dict.fromkeys(("qwen2", "qwen3"), _qwen),
    },
)
