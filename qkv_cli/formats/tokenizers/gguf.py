"""The tokenizer in a GGUF file: BPE or SentencePiece.

Defaults are those of llama.cpp (src/llama-vocab.cpp).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from qkv_cli.errors import CheckpointError

_PIECES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True, slots=True)
class Splitting:
    """How text is split before merging, by `tokenizer.ggml.pre`.

    Attributes:
        build: Returns the pre-tokenizer.
        keeps_known_parts: Whether a part that is in the vocabulary is one token, regardless of
            merges.
        adds_bos: Whether a BOS token is added by default.
    """

    build: Callable[[], Any]
    keeps_known_parts: bool = False
    adds_bos: bool = False


_GPT2 = Splitting(lambda: _byte_level(use_regex=True))
_QWEN2 = Splitting(lambda: _split_by(_PIECES + _REST))
_LLAMA3 = Splitting(
    lambda: _split_by(_PIECES + "{1,3}" + _REST), keeps_known_parts=True, adds_bos=True
)
_SMOLLM = Splitting(
    lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), _byte_level(use_regex=True)]
    )
)
_SPLITTINGS = {
    "smollm": _SMOLLM,
    "gpt-2": _GPT2,
    "phi-2": _GPT2,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama-bpe": _LLAMA3,
    "falcon3": _LLAMA3,
}
# The default ids of SentencePiece's special tokens.
_DEFAULT_IDS = {"bos": 1, "eos": 2, "unknown": 0}
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # of `tokenizer.ggml.token_type`
_SPACE = "\u2581"


def build_tokenizer(fields: Mapping[str, Any], *, is_ordered: bool) -> Tokenizer:
    """Build the tokenizer that the file's fields describe.

    Args:
        is_ordered: Whether SentencePiece's tokens are merged in the order of the file, as in Gemma.
            Otherwise they are merged by their scores.
    """
    kind = fields.get("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer, adds_bos = (
            _byte_pairs(fields),
            _SPLITTINGS[fields["tokenizer.ggml.pre"]].adds_bos,
        )
    elif kind == "llama":
        tokenizer, adds_bos = _sentence_pieces(fields, is_ordered=is_ordered), True
    else:
        raise CheckpointError(
            f"The GGUF file's tokenizer.ggml.model is {kind!r}, which is not implemented; "
            "implemented: gpt2, llama."
        )
    pieces = fields["tokenizer.ggml.tokens"]
    pieces = _respell(pieces) if kind == "llama" else pieces
    kinds = fields["tokenizer.ggml.token_type"]
    kind_of = {piece: k for piece, k in zip(pieces, kinds, strict=True) if k in range(2, 5)}
    control_pieces = [p for p, k in kind_of.items() if k in (_CONTROL, _UNKNOWN)]
    tokenizer.add_special_tokens(
        [AddedToken(p, special=True, normalized=False) for p in control_pieces]
    )
    tokenizer.add_tokens(
        [AddedToken(p, normalized=False) for p, k in kind_of.items() if k == _USER_DEFINED]
    )
    _add_template(tokenizer, fields, pieces, adds_bos=adds_bos)
    return tokenizer


def _add_template(
    tokenizer: Tokenizer, fields: Mapping[str, Any], pieces: Sequence[str], *, adds_bos: bool
) -> None:
    """Set a template that adds BOS and EOS, if the file asks for them."""
    defaults = {"bos": adds_bos, "eos": False}
    special_tokens = {}
    for name, default in defaults.items():
        if fields.get(f"tokenizer.ggml.add_{name}_token", default):
            id = _id(fields, name, len(pieces))
            special_tokens[name] = (pieces[id], id)
    if special_tokens:
        order = [special_tokens.get("bos", ("",))[0], "$A", special_tokens.get("eos", ("",))[0]]
        template = [piece for piece in order if piece]
        tokenizer.post_processor = TemplateProcessing(
            single=template, special_tokens=list(dict.fromkeys(special_tokens.values()))
        )


def _id(fields: Mapping[str, Any], name: str, n_pieces: int) -> int:
    """Return the id of a special token.

    Raises:
        CheckpointError: There is none, or it is out of range.
    """
    default_id = _DEFAULT_IDS[name] if fields["tokenizer.ggml.model"] == "llama" else None
    id = fields.get(f"tokenizer.ggml.{name}_token_id", default_id)
    if type(id) is not int or not 0 <= id < n_pieces:
        raise CheckpointError(
            f"The GGUF file's tokenizer.ggml.{name}_token_id is {id}; expected a token id from 0 "
            f"to {n_pieces - 1}."
        )
    return id


def _byte_pairs(fields: Mapping[str, Any]) -> Tokenizer:
    split_name = fields.get("tokenizer.ggml.pre")
    if split_name not in _SPLITTINGS:
        raise CheckpointError(
            f"The GGUF file's tokenizer.ggml.pre is {split_name!r}, which is not implemented; "
            f"implemented: {', '.join(_SPLITTINGS)}."
        )
    pieces = fields["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ", 1)) for pair in fields["tokenizer.ggml.merges"]]
    ids = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(ids, merges, ignore_merges=_SPLITTINGS[split_name].keeps_known_parts)
    )
    tokenizer.pre_tokenizer = _SPLITTINGS[split_name].build()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_pieces(fields: Mapping[str, Any], *, is_ordered: bool) -> Tokenizer:
    pieces = _respell(fields["tokenizer.ggml.tokens"])
    ids = {piece: i for i, piece in enumerate(pieces)}
    scores = fields["tokenizer.ggml.scores"]
    ranks = [-i for i in range(len(pieces))] if is_ordered else scores
    unknown = _id(fields, "unknown", len(pieces))
    tokenizer = Tokenizer(
        models.BPE(
            ids,
            _merges(ids, ranks),
            unk_token=pieces[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    normalizer_steps: list[Any] = [normalizers.Replace(" ", _SPACE)]
    if fields.get("tokenizer.ggml.add_space_prefix", True):
        normalizer_steps.insert(0, normalizers.Prepend(_SPACE))
    tokenizer.normalizer = normalizers.Sequence(normalizer_steps)
    decoder_steps: list[Any] = [
        decoders.Replace(_SPACE, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ]
    if len(normalizer_steps) > 1:
        decoder_steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(decoder_steps)
    return tokenizer


def _merges(ids: Mapping[str, int], ranks: Sequence[float]) -> list[tuple[str, str]]:
    """Return the merges that form each token, the best token first."""
    ranked_merges = []
    for piece, i in ids.items():
        for at in range(1, len(piece)):
            left, right = piece[:at], piece[at:]
            if left in ids and right in ids:
                order = (-ranks[i], -at, at - len(piece), i, ids[left], ids[right])
                ranked_merges.append((*order, left, right))
    return [(left, right) for *_, left, right in sorted(ranked_merges)]


def _respell(pieces: Sequence[str]) -> list[str]:
    """Write the spaces of tokens that consist only of spaces as U+2581."""
    return [_SPACE * len(p) if p and not p.strip(" ") else p for p in pieces]


def _byte_level(*, use_regex: bool) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def _split_by(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), _byte_level(use_regex=False)]
    )
