"""SmolLM 3: Llama with every fourth layer without positions."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import (
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
from qkv_cli.core.model import Model
from qkv_cli.errors import CheckpointError

DEFAULTS = {
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "use_sliding_window": False,
    "no_rope_layer_interval": 4,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
}


def smollm3(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS)
    size, eps = read_size(config), config.eps("rms_norm_eps")
    act, mlp_bias = config.activation("hidden_act"), config.flag("mlp_bias")
    has_bias = config.flag("attention_bias")
    rotary = read_rotary(config, size.d_head, theta=2_000_000.0, n_max=32_768)
    is_rotated = _is_rotated(config, size.n_layers)
    window = config.optional_size("sliding_window")
    slides = config.flag("use_sliding_window") and window is not None
    kinds = ["sliding_attention" if slides and not r else "full_attention" for r in is_rotated]
    config.ignore("max_window_layers", reason="transformers' class does not read it")
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[rotary if rotated else None for rotated in is_rotated],
        windows=layer_windows(config, layer_kinds(config, kinds), window),
        norms=pre_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps),
        mlp=lambda layer: gated_mlp(layer, size, act, has_bias=mlp_bias),
        qkv_bias=has_bias,
        o_bias=has_bias,
    )


def _is_rotated(config: Config, n_layers: int) -> list[bool]:
    """Return which layers have rotary positions: despite its name, 1 in `no_rope_layers`."""
    every = config.size("no_rope_layer_interval")
    flags = config.optional_list("no_rope_layers")
    if flags is None:
        return [(i + 1) % every != 0 for i in range(n_layers)]
    if len(flags) != n_layers or not all(type(flag) in (int, bool) for flag in flags):
        raise CheckpointError(
            f"no_rope_layers in config.json has {len(flags)} items; expected a number, 0 or 1, for "
            f"each of the {n_layers} layers."
        )
    return [bool(flag) for flag in flags]
