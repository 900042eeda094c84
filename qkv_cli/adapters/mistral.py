"""Mistral: Llama without biases, whose layers all attend within one window."""

from __future__ import annotations

from qkv_cli.adapters.decoder import (
    gated_mlp,
    layer_kinds,
    layer_windows,
    pre_norms,
    read_size,
    rotary_decoder,
)
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
}


def mistral(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS)
    size, eps, act = read_size(config), config.eps("rms_norm_eps"), config.activation("hidden_act")
    config.ignore(
        "use_sliding_window",
        "max_window_layers",
        why="transformers' class gives every layer the window, if there is one",
    )
    window = config.optional_size("sliding_window")
    plain = "full_attention" if window is None else "sliding_attention"
    kinds = layer_kinds(config, [plain] * size.n_layers)  # with layer_types, it is a Ministral
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, n_max=131_072)] * size.n_layers,
        windows=layer_windows(config, kinds, window),
        norms=pre_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps),
        mlp=lambda layer: gated_mlp(layer, size, act),
    )
