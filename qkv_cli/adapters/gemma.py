"""Gemma: norms that leave 1 out of their weights, and scaled embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qkv_cli.adapters.decoder import gated_mlp, pre_norms, read_size, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.arrays import gelu_tanh
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model

DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 256_000,
    "hidden_size": 3072,
    "intermediate_size": 24576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "tie_word_embeddings": True,
}


def gemma(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS)
    size, eps, has_bias = (
        read_size(config),
        config.eps("rms_norm_eps"),
        config.flag("attention_bias"),
    )
    config.one_of("use_bidirectional_attention", (None, False), None)
    # The first files said "gelu" and meant its approximation.
    act = config.activation("hidden_act")
    act = gelu_tanh if config.get("hidden_act") == "gelu" else act
    config.one_of("hidden_activation", (None, "gelu_pytorch_tanh"), None)
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, n_max=8192)] * size.n_layers,
        norms=pre_norms(size.d_model, eps, offset=1.0),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps, offset=1.0),
        mlp=lambda layer: gated_mlp(layer, size, act),
        qkv_bias=has_bias,
        o_bias=has_bias,
        embed_scale=size.d_model**0.5,
    )
