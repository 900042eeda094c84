"""Tables of tokens: one for all, or one each for who reads and who writes."""

from __future__ import annotations

from qkv_cli.core.arrays import Stored
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import Embedding, Linear, Unembedding

_SHARED = ("shared", "encoder.embed_tokens", "decoder.embed_tokens")


def embeddings(t: Tensors) -> tuple[Embedding, Embedding | None]:
    """What the encoder reads with, and the decoder where it has another.

    A file names the shared table once, or every copy of it.
    """
    tables = [_table(t, "encoder.embed_tokens"), _table(t, "decoder.embed_tokens")]
    t.pass_over(*(f"{t.prefix}{name}.weight" for name in _SHARED))
    read, written = tables
    return Embedding(read), None if written is read else Embedding(written)


def unembedding(tensors: Tensors, t: Tensors, *, scale: float = 1.0) -> Unembedding:
    """What gives the next token its score: a table of its own, or the shared one.

    Args:
        t: Where the embeddings are.
        scale: Of the last hidden state.
    """
    own = "lm_head.weight" in tensors
    table = tensors.stored("lm_head.weight") if own else _table(t, "decoder.embed_tokens")
    bias = tensors.stored("final_logits_bias") if "final_logits_bias" in tensors else None
    return Unembedding(table, bias, scale)


def decoder_unembedding(
    config: Config,
    tensors: Tensors,
    table: Stored,
    *,
    tied: bool,
    head: str = "lm_head",
    scale: float = 1.0,
    into: Linear | None = None,
    softcap: float | None = None,
) -> Unembedding | None:
    """Of a decoder alone: its file's own, or the embeddings; None of a file without its head.

    Args:
        table: The embeddings.
        tied: Whether they are it, where the config does not say.
    """
    if f"{head}.weight" in tensors:
        table = tensors.stored(f"{head}.weight")
    elif not config.get("tie_word_embeddings", tied):
        return None
    bias = tensors.stored(f"{head}.bias") if f"{head}.bias" in tensors else None
    return Unembedding(table, bias, scale, into, softcap)


def _table(t: Tensors, own: str) -> Stored:
    for name in (own, *_SHARED):
        if f"{name}.weight" in t:
            return t.stored(f"{name}.weight")
    return t.stored("shared.weight")  # says that it is missing
