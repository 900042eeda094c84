"""ELECTRA: BERT with embeddings of their own size."""

from __future__ import annotations

from qkv_cli.adapters.encoder import post_norm_encoder
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def electra(config: Config, tensors: Tensors) -> Model:
    tensors.pass_over("discriminator_predictions.*", "generator_*")
    t = tensors.inner("electra")
    config.get("embedding_size")  # the projection is there where it differs
    wide = t.linear("embeddings_project") if "embeddings_project.weight" in t else None
    return post_norm_encoder(config, t, embed_out=wide)
