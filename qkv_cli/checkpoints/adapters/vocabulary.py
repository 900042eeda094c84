"""Tables of tokens: one for all, or one each for who reads and who writes."""

from __future__ import annotations

from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.arrays import Stored
from qkv_cli.core.layers import Embedding, Linear, Unembedding

_SHARED = ("shared", "encoder.embed_tokens", "decoder.embed_tokens")


def embeddings(t: Tensors, d_vocab: int, d_model: int) -> tuple[Embedding, Embedding | None]:
    """What the encoder reads with, and the decoder where it has another.

    A file names the shared table once, or every copy of it.
    """
    read = _table(t, "encoder.embed_tokens", d_vocab, d_model)
    written = _table(t, "decoder.embed_tokens", None, d_model)
    t.pass_over(*(f"{t.prefix}{name}.weight" for name in _SHARED))
    return Embedding(read), None if written is read else Embedding(written)


def unembedding(tensors: Tensors, t: Tensors, d_model: int, *, scale: float = 1.0) -> Unembedding:
    """What gives the next token its score: a table of its own, or the shared one.

    Args:
        t: Where the embeddings are.
        scale: Of the last hidden state.
    """
    if "lm_head.weight" in tensors:
        table = tensors.stored("lm_head.weight", None, d_model)
    else:
        table = _table(t, "decoder.embed_tokens", None, d_model)
    n_tokens = table.shape[0]
    has_bias = "final_logits_bias" in tensors
    bias = tensors.stored("final_logits_bias", 1, n_tokens) if has_bias else None
    return Unembedding(table, bias, scale)


def decoder_unembedding(
    config: Config,
    tensors: Tensors,
    table: Stored,
    *,
    head: str = "lm_head",
    has_bias: bool = False,
    scale: float = 1.0,
    into: Linear | None = None,
    softcap: float | None = None,
) -> Unembedding | None:
    """Of a decoder alone: its file's own, or the embeddings; None of a file without its head.

    Args:
        table: The embeddings.
    """
    is_tied, bias = config.flag("tie_word_embeddings"), None
    if f"{head}.weight" in tensors:
        table = tensors.stored(f"{head}.weight", *table.shape)
    elif not is_tied:
        return None
    if has_bias and f"{head}.bias" in tensors:
        bias = tensors.stored(f"{head}.bias", table.shape[0])
    return Unembedding(table, bias, scale, into, softcap)


def _table(t: Tensors, own: str, d_vocab: int | None, d_model: int) -> Stored:
    for name in (own, *_SHARED):
        if f"{name}.weight" in t:
            return t.stored(f"{name}.weight", d_vocab, d_model)
    return t.stored("shared.weight", d_vocab, d_model)  # says that it is missing
