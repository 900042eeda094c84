"""Embeddings and unembeddings, shared or separate."""

from __future__ import annotations

from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.arrays import Stored
from qkv_cli.core.layers import Embedding, Linear, Unembedding

_SHARED = ("shared", "encoder.embed_tokens", "decoder.embed_tokens")


def embeddings(t: Tensors, d_vocab: int, d_model: int) -> tuple[Embedding, Embedding | None]:
    """Return the embedding, and the decoder's own if it has one.

    A checkpoint may contain the shared table once or several times.
    """
    encoder_table = _table(t, "encoder.embed_tokens", d_vocab, d_model)
    decoder_table = _table(t, "decoder.embed_tokens", None, d_model)
    t.skip(*(f"{t.prefix}{name}.weight" for name in _SHARED))
    return Embedding(encoder_table), None if decoder_table is encoder_table else Embedding(
        decoder_table
    )


def unembedding(tensors: Tensors, t: Tensors, d_model: int, *, scale: float = 1.0) -> Unembedding:
    """Return the unembedding: a table of its own, or the shared embedding.

    Args:
        t: The tensors of the embeddings.
        scale: The factor of the last hidden state.
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
    project: Linear | None = None,
    softcap: float | None = None,
) -> Unembedding | None:
    """Return the unembedding of a decoder: its own, or the tied embedding; None if it is missing.

    Args:
        table: The embedding.
    """
    is_tied, bias = config.flag("tie_word_embeddings"), None
    if f"{head}.weight" in tensors:
        table = tensors.stored(f"{head}.weight", *table.shape)
    elif not is_tied:
        return None
    if has_bias and f"{head}.bias" in tensors:
        bias = tensors.stored(f"{head}.bias", table.shape[0])
    return Unembedding(table=table, b=bias, scale=scale, project=project, softcap=softcap)


def _table(t: Tensors, table_name: str, d_vocab: int | None, d_model: int) -> Stored:
    for name in (table_name, *_SHARED):
        if f"{name}.weight" in t:
            return t.stored(f"{name}.weight", d_vocab, d_model)
    return t.stored("shared.weight", d_vocab, d_model)  # raises the error for the missing tensor
