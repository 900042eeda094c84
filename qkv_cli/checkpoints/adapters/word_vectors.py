"""Heads over word vectors: a model with one layer of attention.

Between two texts, the same heads are used without the offset bias, since there is no offset
between words of different texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.arrays import Array, Packed
from qkv_cli.core.block import Attention, Block
from qkv_cli.core.layers import Embedding, Norm
from qkv_cli.core.model import Model, Stack

# Only to avoid division by zero; word vectors are never this short.
_EPS = 1e-12


def word_vectors(config: Config, tensors: Tensors) -> Model:
    t, d_head, n_heads = tensors, config.size("d_head"), config.size("n_heads")
    d_model, d_vocab, d_query = config.size("d_model"), config.size("d_vocab"), n_heads * d_head
    config.ignore(
        "n_layers", "name", "origin", "about", "licence", reason="descriptions for readers"
    )
    # int8 tables have a scale per row.
    has_scale = "embed.scale" in t
    table = (t.stored_any_type if has_scale else t.stored)("embed.weight", d_vocab, d_model)
    embed = Embedding(
        table=table,
        row_scale=t.stored("embed.scale", d_vocab) if has_scale else None,
        mean=t.array("embed.mean", d_model),
    )
    unit_rms = Norm(w=None, b=None, eps=_EPS, centred=False)
    q, k, v = (t.linear(f"attn.{name}", d_model, d_query) for name in "qkv")
    o = t.linear("attn.o", d_query, d_model)
    attn = Attention(q=q, k=k, v=v, o=o, d_head=d_head, scale=d_head**-0.5)
    return Model(
        embed=embed,
        embed_norms={"encoder": unit_rms},
        # The table's middle row is -inf: a word does not attend to itself.
        stacks={
            "encoder": Stack([Block(attn)], offsets=t.array("attn.offset_bias", None, n_heads))
        },
        between_texts=Model(
            embed=embed,
            embed_norms={"encoder": unit_rms, "decoder": unit_rms},
            stacks={"encoder": Stack([]), "decoder": Stack([Block(cross=attn)])},
        ),
    )


def with_rows(model: Model, rows: Array) -> Model:
    """Return the same model with additional word vectors, whose ids follow its own.

    Args:
        rows: [n_rows, d_model], before the mean is subtracted.
    """
    model_embed = replace(model.embed, mean=None)
    n_model_rows = len(model_embed.table)

    def read_rows(ids: NDArray[np.intp]) -> Array:
        is_model_row = ids < n_model_rows
        x = model_embed(np.where(is_model_row, ids, 0).tolist())
        x[~is_model_row] = rows[ids[~is_model_row] - n_model_rows]
        return x

    shape = (n_model_rows + len(rows), rows.shape[1])
    table = Packed(shape, unpack=lambda: read_rows(np.arange(shape[0])), rows=read_rows)
    embed = replace(model.embed, table=table, row_scale=None)
    between_texts = model.between_texts
    between_texts = None if between_texts is None else replace(between_texts, embed=embed)
    return replace(model, embed=embed, between_texts=between_texts)


def identity_heads(d_model: int, mean: Array) -> dict[str, Array]:
    """Return the tensors of one head with Q = K = V = e: soft indexing without training."""
    eye, zero = np.eye(d_model, dtype=np.float32), np.zeros(d_model, np.float32)
    heads: dict[str, Array] = {f"attn.{name}.weight": eye for name in "qkvo"}
    heads |= {f"attn.{name}.bias": zero for name in "qkvo"}
    return heads | {"embed.mean": mean, "attn.offset_bias": no_self(1, 1)}


def no_self(clip: int, n_heads: int) -> Array:
    """Return offset biases that only mask the word itself, [2 * clip + 1, n_heads]."""
    table = np.zeros((2 * clip + 1, n_heads), np.float32)
    table[clip] = -np.inf
    return table


def random_heads(config: Mapping[str, Any], seed: int) -> dict[str, Array]:
    """Return random heads of the config's shape: Glorot-normal projections, zero biases."""
    rng = np.random.default_rng(seed)
    d_model, d_inner = config["d_model"], config["n_heads"] * config["d_head"]
    std = (2 / (d_model + d_inner)) ** 0.5
    shapes = {"q": (d_inner, d_model), "k": (d_inner, d_model), "v": (d_inner, d_model)}
    shapes["o"] = (d_model, d_inner)
    heads = {}
    for name, shape in shapes.items():
        heads[f"attn.{name}.weight"] = rng.normal(0, std, shape).astype(np.float32)
        heads[f"attn.{name}.bias"] = np.zeros(shape[0], np.float32)
    return heads | {"attn.offset_bias": no_self(1, config["n_heads"])}
