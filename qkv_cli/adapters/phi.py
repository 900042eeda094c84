"""Phi, Phi 1.5 and Phi 2: one norm feeds attention and MLP at once; part of a head turns."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_width, read_size, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.blocks import Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP
from qkv_cli.core.model import Model

DEFAULTS = {
    "vocab_size": 51200,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-5,
    "qk_layernorm": False,
    "tie_word_embeddings": False,
}


def phi(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS)
    size, eps, act = (
        read_size(config),
        config.eps("layer_norm_eps"),
        config.activation("hidden_act"),
    )
    normed = head_width(config, size.d_model, size.n_heads)

    def norms(layer: Tensors) -> Norms:
        shared = layer.layer_norm("input_layernorm", size.d_model, eps)
        return Norms(attn_in=shared, mlp_in=shared)

    def mlp(layer: Tensors) -> MLP:
        up = layer.linear("mlp.fc1", size.d_model, size.d_mlp)
        return MLP(up, layer.linear("mlp.fc2", size.d_mlp, size.d_model), act)

    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, share=0.5)] * size.n_layers,
        norms=norms,
        final_norm=lambda t: t.layer_norm("final_layernorm", size.d_model, eps),
        mlp=mlp,
        qkv_bias=True,
        o="dense",
        o_bias=True,
        head_norm=(lambda attn, of: attn.layer_norm(f"{of}_layernorm", normed, eps))
        if config.flag("qk_layernorm")
        else None,
        is_parallel=True,
        logit_bias=True,
    )
