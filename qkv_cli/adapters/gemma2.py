"""Gemma 2: norms on both sides of each sub-layer, a soft cap, and every other layer slides."""

from __future__ import annotations

from qkv_cli.adapters.decoder import (
    gated_mlp,
    gemma_norms,
    layer_kinds,
    layer_windows,
    read_size,
    rotary_decoder,
)
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model

DEFAULTS = {
    "vocab_size": 256_000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
    "tie_word_embeddings": True,
}


def gemma2(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS)
    size, eps, has_bias = (
        read_size(config),
        config.eps("rms_norm_eps"),
        config.flag("attention_bias"),
    )
    act = config.activation("hidden_activation")
    config.one_of("use_bidirectional_attention", (None, False), None)
    config.ignore(
        "hidden_act", "sliding_window_size", why="the class reads hidden_activation, sliding_window"
    )
    config.ignore("cache_implementation", why="one text is read at once, nothing is cached")
    kinds = ["full_attention" if i % 2 else "sliding_attention" for i in range(size.n_layers)]
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, n_max=8192)] * size.n_layers,
        windows=layer_windows(
            config, layer_kinds(config, kinds), config.optional_size("sliding_window")
        ),
        norms=gemma_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps, offset=1.0),
        mlp=lambda layer: gated_mlp(layer, size, act),
        qkv_bias=has_bias,
        o_bias=has_bias,
        scale=config.positive("query_pre_attn_scalar") ** -0.5,
        softcap=config.optional_positive("attn_logit_softcapping"),
        embed_scale=size.d_model**0.5,
        logit_softcap=config.optional_positive("final_logit_softcapping"),
    )
