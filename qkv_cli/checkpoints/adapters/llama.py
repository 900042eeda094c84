"""Llama."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import gated_mlp, pre_norms, read_size, rotary_decoder
from qkv_cli.checkpoints.adapters.rope import read_rotary
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.model import Model

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
}


def llama(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS)
    size, eps = read_size(config), config.eps("rms_norm_eps")
    act, mlp_bias = config.activation("hidden_act"), config.flag("mlp_bias")
    has_bias = config.flag("attention_bias")
    config.one_of("rope_interleaved", (False,), False)
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
    )
