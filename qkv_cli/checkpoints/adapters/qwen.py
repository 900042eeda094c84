"""Qwen 2 and 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qkv_cli.checkpoints.adapters.decoder import (
    Size,
    gated_mlp,
    layer_kinds,
    layer_windows,
    pre_norms,
    read_size,
    rotary_decoder,
)
from qkv_cli.checkpoints.adapters.rope import read_rotary
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.layers import Norm
from qkv_cli.core.model import Model

DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "tie_word_embeddings": False,
}


def qwen2(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS)
    return qwen(config, tensors, read_size(config), qkv_bias=True, o_bias=False)


def qwen(
    config: Config,
    tensors: Tensors,
    size: Size,
    *,
    qkv_bias: bool,
    o_bias: bool,
    head_norm: Callable[[Tensors, str], Norm] | None = None,
) -> Model:
    """Build Qwen 2 or Qwen 3, which share most settings."""
    eps, act = config.eps("rms_norm_eps"), config.activation("hidden_act")
    config.one_of("use_mrope", (False,), False)
    window = config.optional_size("sliding_window")
    window = window if config.flag("use_sliding_window") else None
    n_full_layers = config.size("max_window_layers", minimum=0)
    kinds = layer_kinds(
        config,
        [
            "full_attention" if window is None or i < n_full_layers else "sliding_attention"
            for i in range(size.n_layers)
        ],
    )
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, n_max=32_768)] * size.n_layers,
        windows=layer_windows(config, kinds, window),
        norms=pre_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps),
        mlp=lambda layer: gated_mlp(layer, size, act),
        qkv_bias=qkv_bias,
        o_bias=o_bias,
        head_norm=head_norm,
    )


def qwen3(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults({**DEFAULTS, "head_dim": 128, "attention_bias": False})
    size, eps = read_size(config), config.eps("rms_norm_eps")
    has_bias = config.flag("attention_bias")
    return qwen(
        config,
        tensors,
        size,
        qkv_bias=has_bias,
        o_bias=has_bias,
        head_norm=lambda attn, name: attn.rms_norm(f"{name}_norm", size.d_head, eps),
    )
