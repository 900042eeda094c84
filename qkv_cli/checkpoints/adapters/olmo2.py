"""OLMo 2: norms after each sub-layer, and norms of all queries and keys."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import gated_mlp, read_size, rotary_decoder
from qkv_cli.checkpoints.adapters.rope import read_rotary
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import Norms
from qkv_cli.core.model import Model

DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "tie_word_embeddings": False,
}


def olmo2(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS)
    size, eps, has_bias = (
        read_size(config),
        config.eps("rms_norm_eps"),
        config.flag("attention_bias"),
    )
    act, widths = config.activation("hidden_act"), {"q": size.d_query, "k": size.d_key}
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head)] * size.n_layers,
        norms=lambda layer: Norms(
            attn_out=layer.rms_norm("post_attention_layernorm", size.d_model, eps),
            mlp_out=layer.rms_norm("post_feedforward_layernorm", size.d_model, eps),
        ),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps),
        mlp=lambda layer: gated_mlp(layer, size, act),
        qkv_bias=has_bias,
        o_bias=has_bias,
        head_norm=lambda attn, of: attn.rms_norm(f"{of}_norm", widths[of], eps),
    )
