"""StarCoder 2: LayerNorm, biases, a plain MLP, and a window in all layers."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import read_size, rotary_decoder
from qkv_cli.checkpoints.adapters.rope import read_rotary
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import Norms
from qkv_cli.core.layers import MLP
from qkv_cli.core.model import Model

DEFAULTS = {
    "vocab_size": 49152,
    "hidden_size": 3072,
    "intermediate_size": 12288,
    "num_hidden_layers": 30,
    "num_attention_heads": 24,
    "num_key_value_heads": 2,
    "hidden_act": "gelu_pytorch_tanh",
    "norm_epsilon": 1e-5,
    "use_bias": True,
    "tie_word_embeddings": True,
}


def starcoder2(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS)
    size, eps, act = read_size(config), config.eps("norm_epsilon"), config.activation("hidden_act")
    has_bias = config.flag("use_bias")
    config.one_of("mlp_type", ("default",), "default")
    config.one_of("norm_type", ("layer_norm",), "layer_norm")
    config.one_of("scale_attn_weights", (True,), True)
    config.ignore(
        "activation_function",
        "layer_norm_epsilon",
        reason="the class reads hidden_act, norm_epsilon",
    )
    config.ignore("layer_types", reason="transformers' class gives every layer the window")

    def mlp(layer: Tensors) -> MLP:
        up = layer.linear("mlp.c_fc", size.d_model, size.d_mlp, has_bias=has_bias)
        down = layer.linear("mlp.c_proj", size.d_mlp, size.d_model, has_bias=has_bias)
        return MLP(up, down, act)

    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, n_max=4096)] * size.n_layers,
        windows=[config.optional_size("sliding_window")] * size.n_layers,
        norms=lambda layer: Norms(
            attn_in=layer.layer_norm("input_layernorm", size.d_model, eps),
            mlp_in=layer.layer_norm("post_attention_layernorm", size.d_model, eps),
        ),
        final_norm=lambda t: t.layer_norm("norm", size.d_model, eps),
        mlp=mlp,
        qkv_bias=has_bias,
        o_bias=has_bias,
    )
