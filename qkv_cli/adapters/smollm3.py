"""SmolLM 3: Llama with every fourth layer left without positions."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_size, layer_windows, pre_norms, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def smollm3(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["rms_norm_eps"], config["num_hidden_layers"]
    every = config.get("no_rope_layer_interval", 4)
    # In spite of its name, 1 is for a layer that has positions.
    turns = config.get("no_rope_layers", [(i + 1) % every != 0 for i in range(n_layers)])
    rotary = read_rotary(config, d_head, theta=2_000_000.0)
    slides = config.get("use_sliding_window", False)
    kinds = ["sliding_attention" if slides and not t else "full_attention" for t in turns]
    config.get("max_window_layers")
    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_act"),
        d_head=d_head,
        rotaries=[rotary if turns[i] else None for i in range(n_layers)],
        windows=layer_windows(config, kinds),
        norms=pre_norms(eps),
        final_norm=lambda t: t.rms_norm("norm", eps),
        tied=True,
    )
