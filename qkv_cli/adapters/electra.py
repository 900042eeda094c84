"""ELECTRA: BERT with embeddings of their own size."""

from __future__ import annotations

from qkv_cli.adapters.encoder import DEFAULTS, post_norm_encoder
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model

_OWN = {
    "embedding_size": 128,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}


def electra(config: Config, tensors: Tensors) -> Model:
    tensors.pass_over("discriminator_predictions.*", "generator_*")
    config, t = config.over({**DEFAULTS, **_OWN}), tensors.inner("electra")
    d_embed, d_model = config.size("embedding_size"), config.size("hidden_size")
    wide = t.linear("embeddings_project", d_embed, d_model) if d_embed != d_model else None
    return post_norm_encoder(config, t, d_embed=d_embed, embed_out=wide)
