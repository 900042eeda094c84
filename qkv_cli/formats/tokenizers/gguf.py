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
class Cut:
    """How text is split before merging, by `tokenizer.ggml.pre`.

    Attributes:
        merges_whole: Whether a part that is in the vocabulary is one token, regardless of merges.
        begins: Whether a BOS token is added by default.
    """

    build: Callable[[], Any]
    merges_whole: bool = False
    begins: bool = False


_GPT2 = Cut(lambda: _bytes(cut=True))
_QWEN2 = Cut(lambda: _by_pattern(_PIECES + _REST))
_LLAMA3 = Cut(lambda: _by_pattern(_PIECES + "{1,3}" + _REST), merges_whole=True, begins=True)
_SMOLLM = Cut(
    lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), _bytes(cut=True)]
    )
)
_CUTS = {
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
_USUAL = {"bos": 1, "eos": 2, "unknown": 0}
_UNKNOWN, _CONTROL, _BY_USER = 2, 3, 4  # of `tokenizer.ggml.token_type`
_SPACE = "\u2581"


def build_tokenizer(fields: Mapping[str, Any], *, ordered: bool) -> Tokenizer:
    """Build the tokenizer that the file's fields describe.

    Args:
        ordered: Whether SentencePiece's tokens are merged in the order of the file, as in Gemma,
            and not by their scores.
    """
    kind = fields.get("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer, starts = _byte_pairs(fields), _CUTS[fields["tokenizer.ggml.pre"]].begins
    elif kind == "llama":
        tokenizer, starts = _sentence_pieces(fields, ordered=ordered), True
    else:
        raise CheckpointError(
            f"The GGUF file's tokenizer.ggml.model is {kind!r}, which is not implemented; "
            "implemented: gpt2, llama."
        )
    pieces = fields["tokenizer.ggml.tokens"]
    pieces = _respelled(pieces) if kind == "llama" else pieces
    kinds = fields["tokenizer.ggml.token_type"]
    of = {piece: k for piece, k in zip(pieces, kinds, strict=True) if k in range(2, 5)}
    control = [p for p, k in of.items() if k in (_CONTROL, _UNKNOWN)]
    tokenizer.add_special_tokens([AddedToken(p, special=True, normalized=False) for p in control])
    tokenizer.add_tokens([AddedToken(p, normalized=False) for p, k in of.items() if k == _BY_USER])
    _frame(tokenizer, fields, pieces, starts=starts)
    return tokenizer


def _frame(
    tokenizer: Tokenizer, fields: Mapping[str, Any], pieces: Sequence[str], *, starts: bool
) -> None:
    """Add BOS and EOS to the template, if the file asks for them."""
    defaults = {"bos": starts, "eos": False}
    around = {}
    for name, default in defaults.items():
        if fields.get(f"tokenizer.ggml.add_{name}_token", default):
            id = _id(fields, name, len(pieces))
            around[name] = (pieces[id], id)
    if around:
        order = [around.get("bos", ("",))[0], "$A", around.get("eos", ("",))[0]]
        single = [piece for piece in order if piece]
        tokenizer.post_processor = TemplateProcessing(
            single=single, special_tokens=list(dict.fromkeys(around.values()))
        )


def _id(fields: Mapping[str, Any], name: str, n_pieces: int) -> int:
    """Return the id of a special token.

    Raises:
        CheckpointError: There is none, or it is out of range.
    """
    usual = _USUAL[name] if fields["tokenizer.ggml.model"] == "llama" else None
    id = fields.get(f"tokenizer.ggml.{name}_token_id", usual)
    if type(id) is not int or not 0 <= id < n_pieces:
        raise CheckpointError(
            f"The GGUF file's tokenizer.ggml.{name}_token_id is {id}; expected a token id from 0 "
            f"to {n_pieces - 1}."
        )
    return id


def _byte_pairs(fields: Mapping[str, Any]) -> Tokenizer:
    cut = fields.get("tokenizer.ggml.pre")
    if cut not in _CUTS:
        raise CheckpointError(
            f"The GGUF file's tokenizer.ggml.pre is {cut!r}, which is not implemented; "
            f"implemented: {', '.join(_CUTS)}."
        )
    pieces = fields["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ", 1)) for pair in fields["tokenizer.ggml.merges"]]
    ids = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(ids, merges, ignore_merges=_CUTS[cut].merges_whole))
    tokenizer.pre_tokenizer = _CUTS[cut].build()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_pieces(fields: Mapping[str, Any], *, ordered: bool) -> Tokenizer:
    pieces = _respelled(fields["tokenizer.ggml.tokens"])
    ids = {piece: i for i, piece in enumerate(pieces)}
    scores = fields["tokenizer.ggml.scores"]
    rank = [-i for i in range(len(pieces))] if ordered else scores
    unknown = _id(fields, "unknown", len(pieces))
    tokenizer = Tokenizer(
        models.BPE(
            ids,
            _merges(ids, rank),
            unk_token=pieces[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaced: list[Any] = [normalizers.Replace(" ", _SPACE)]
    if fields.get("tokenizer.ggml.add_space_prefix", True):
        spaced.insert(0, normalizers.Prepend(_SPACE))
    tokenizer.normalizer = normalizers.Sequence(spaced)
    steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if len(spaced) > 1:
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _merges(ids: Mapping[str, int], rank: Sequence[float]) -> list[tuple[str, str]]:
    """Return the merges that form each token, the best token first."""
    ordered = []
    for piece, i in ids.items():
        for at in range(1, len(piece)):
            left, right = piece[:at], piece[at:]
            if left in ids and right in ids:
                order = (-rank[i], -at, at - len(piece), i, ids[left], ids[right])
                ordered.append((*order, left, right))
    return [(left, right) for *_, left, right in sorted(ordered)]


def _respelled(pieces: Sequence[str]) -> list[str]:
    """Return a token's spelling: spaces as spaces if it has only spaces, else as their sign."""
    return [_SPACE * len(p) if p and not p.strip(" ") else p for p in pieces]


def _bytes(*, cut: bool) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut)


def _by_pattern(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), _bytes(cut=False)]
    )
