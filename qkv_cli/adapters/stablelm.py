"""StableLM: LayerNorm, a quarter of each head turns, and each head may have its own norm."""

from __future__ import annotations

import numpy as np

from qkv_cli.adapters.decoder import head_size, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.blocks import Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import Norm
from qkv_cli.core.model import Model


def stablelm(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["layer_norm_eps"], config["num_hidden_layers"]
    parallel = config.get("use_parallel_residual", False)
    normed = config.get("qk_layernorm", False)
    n_heads = config["num_attention_heads"]
    counts = {"q": n_heads, "k": config.get("num_key_value_heads", n_heads)}
    config.one_of("rotary_scaling_factor", (1.0,), 1.0)
    config.get("use_qkv_bias")  # the tensors say it

    def norms(layer: Tensors) -> Norms:
        attn_in = layer.layer_norm("input_layernorm", eps)
        if parallel:
            return Norms(attn_in=attn_in, mlp_in=attn_in)
        return Norms(attn_in, mlp_in=layer.layer_norm("post_attention_layernorm", eps))

    def head_norm(attn: Tensors, of: str) -> Norm:
        each = attn / f"{of}_layernorm.norms"
        w = np.stack([each[f"{head}.weight"] for head in range(counts[of])])
        return Norm(w[:, None], None, eps, True)  # [n_heads, 1, d_head]

    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_act"),
        d_head=d_head,
        rotaries=[read_rotary(config, d_head, share=0.25)] * n_layers,
        windows=[None] * n_layers,
        norms=norms,
        final_norm=lambda t: t.layer_norm("norm", eps),
        head_norm=head_norm if normed else None,
        parallel=parallel,
    )
