"""StarCoder 2: LayerNorm and biases, a plain MLP, and a window over all layers."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_size, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.arrays import Activation
from qkv_cli.core.blocks import Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP
from qkv_cli.core.model import Model


def starcoder2(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["norm_epsilon"], config["num_hidden_layers"]
    config.one_of("mlp_type", ("default",), "default")
    config.one_of("norm_type", ("layer_norm",), "layer_norm")
    config.one_of("scale_attn_weights", (True,), True)
    for said_twice in ("activation_function", "layer_norm_epsilon"):
        config.get(said_twice)
    config.get("use_bias")  # the tensors say it

    def mlp(layer: Tensors, act: Activation) -> MLP:
        return MLP(layer.linear("mlp.c_fc"), layer.linear("mlp.c_proj"), act)

    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_act"),
        d_head=d_head,
        rotaries=[read_rotary(config, d_head)] * n_layers,
        windows=[config.get("sliding_window")] * n_layers,
        norms=lambda layer: Norms(
            attn_in=layer.layer_norm("input_layernorm", eps),
            mlp_in=layer.layer_norm("post_attention_layernorm", eps),
        ),
        final_norm=lambda t: t.layer_norm("norm", eps),
        mlp=mlp,
        tied=True,
    )
