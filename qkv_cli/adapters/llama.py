"""Llama, Mistral, Qwen 2 and Qwen 3: which tensors exist makes the difference."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_size, layer_windows, pre_norms, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def llama(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["rms_norm_eps"], config["num_hidden_layers"]
    # Qwen's layers slide from max_window_layers on, if at all; Mistral's all do.
    config.one_of("use_mrope", (False,), False)
    mistral = config["model_type"] == "mistral"
    slides = config.get("use_sliding_window", mistral)
    first = config.get("max_window_layers", 0 if mistral else 28)
    kinds = [("full", "sliding")[slides and i >= first] + "_attention" for i in range(n_layers)]
    normed = "layers.0.self_attn.q_norm.weight" in tensors.inner("model", "transformer")
    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_act"),
        d_head=d_head,
        rotaries=[read_rotary(config, d_head)] * n_layers,
        windows=layer_windows(config, kinds),
        norms=pre_norms(eps),
        final_norm=lambda t: t.rms_norm("norm", eps),
        head_norm=(lambda t, of: t.rms_norm(f"{of}_norm", eps)) if normed else None,
    )
