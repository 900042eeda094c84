"""Gemma 2: norms on both sides of each sub-layer, a soft cap, and every other layer slides."""

from __future__ import annotations

from qkv_cli.adapters.decoder import gemma_norms, head_size, layer_windows, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def gemma2(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["rms_norm_eps"], config["num_hidden_layers"]
    # null is for no cap; only where nothing is said it is what the published models have.
    unsaid = None if "attn_logit_softcapping" in config.values else 50.0
    config.one_of("use_bidirectional_attention", (False,), False)
    config.get("hidden_act")
    config.get("sliding_window_size")
    unsaid_of_logits = None if "final_logit_softcapping" in config.values else 30.0
    config.get("cache_implementation")

    kinds = ["full_attention" if i % 2 else "sliding_attention" for i in range(n_layers)]
    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_activation", "gelu_pytorch_tanh"),
        d_head=d_head,
        rotaries=[read_rotary(config, d_head)] * n_layers,
        windows=layer_windows(config, kinds),
        norms=gemma_norms(eps),
        final_norm=lambda t: t.rms_norm("norm", eps, offset=1.0),
        scale=config.get("query_pre_attn_scalar", 256) ** -0.5,
        softcap=config.get("attn_logit_softcapping", unsaid),
        embed_scale=config["hidden_size"] ** 0.5,
        tied=True,
        logit_softcap=config.get("final_logit_softcapping", unsaid_of_logits),
    )
