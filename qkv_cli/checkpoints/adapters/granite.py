"""Granite: Llama with multipliers for the embeddings, scores and residual branches."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import gated_mlp, pre_norms, read_size, rotary_decoder
from qkv_cli.checkpoints.adapters.llama import DEFAULTS
from qkv_cli.checkpoints.adapters.rope import read_rotary
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.model import Model


def granite(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS)
    size, eps = read_size(config), config.eps("rms_norm_eps")
    act, mlp_bias = config.activation("hidden_act"), config.flag("mlp_bias")
    has_bias = config.flag("attention_bias")
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head)] * size.n_layers,
        norms=pre_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps),
        mlp=lambda layer: gated_mlp(layer, size, act, has_bias=mlp_bias),
        qkv_bias=has_bias,
        o_bias=has_bias,
        scale=config.number("attention_multiplier", 1.0),
        embed_scale=config.number("embedding_multiplier", 1.0),
        resid_scale=config.number("residual_multiplier", 1.0),
        logit_scale=1 / config.positive("logits_scaling", 1.0),
    )
