"""StableLM: LayerNorm, a quarter of each head rotated, and optional norms per head."""

from __future__ import annotations

import numpy as np

from qkv_cli.checkpoints.adapters.decoder import gated_mlp, head_width, read_size, rotary_decoder
from qkv_cli.checkpoints.adapters.rope import read_rotary
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import Norms
from qkv_cli.core.layers import Norm
from qkv_cli.core.model import Model

DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 2560,
    "intermediate_size": 6912,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "layer_norm_eps": 1e-5,
    "use_qkv_bias": False,
    "qk_layernorm": False,
    "use_parallel_residual": False,
    "tie_word_embeddings": False,
}


def stablelm(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS)
    size, eps, act = (
        read_size(config),
        config.eps("layer_norm_eps"),
        config.activation("hidden_act"),
    )
    is_parallel = config.flag("use_parallel_residual")
    counts = {"q": size.n_heads, "k": size.n_kv_heads}
    config.one_of("rotary_scaling_factor", (1.0, 1), 1.0)
    width = head_width(config, size.d_model, size.n_heads)
    config.one_of("head_dim", (None, width), None)  # transformers' class derives it

    def norms(layer: Tensors) -> Norms:
        attn_in = layer.layer_norm("input_layernorm", size.d_model, eps)
        if is_parallel:
            return Norms(attn_in=attn_in, mlp_in=attn_in)
        mlp_in = layer.layer_norm("post_attention_layernorm", size.d_model, eps)
        return Norms(attn_in=attn_in, mlp_in=mlp_in)

    def head_norm(attn: Tensors, name: str) -> Norm:
        norms = attn / f"{name}_layernorm.norms"
        w = np.stack([norms.array(f"{head}.weight", size.d_head) for head in range(counts[name])])
        return Norm(w=w[:, None], b=None, eps=eps, centred=True)  # [n_heads, 1, d_head]

    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, share=0.25, n_max=4096)] * size.n_layers,
        norms=norms,
        final_norm=lambda t: t.layer_norm("norm", size.d_model, eps),
        mlp=lambda layer: gated_mlp(layer, size, act),
        qkv_bias=config.flag("use_qkv_bias"),
        head_norm=head_norm if config.flag("qk_layernorm") else None,
        is_parallel=is_parallel,
    )
