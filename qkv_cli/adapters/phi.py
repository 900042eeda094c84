"""Phi, Phi 1.5 and Phi 2: one norm feeds attention and MLP at once; part of a head turns."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_size, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.arrays import Activation
from qkv_cli.core.blocks import Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP
from qkv_cli.core.model import Model


def phi(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["layer_norm_eps"], config["num_hidden_layers"]
    normed = config.get("qk_layernorm", False)

    def norms(layer: Tensors) -> Norms:
        shared = layer.layer_norm("input_layernorm", eps)
        return Norms(attn_in=shared, mlp_in=shared)

    def mlp(layer: Tensors, act: Activation) -> MLP:
        return MLP(layer.linear("mlp.fc1"), layer.linear("mlp.fc2"), act)

    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_act"),
        d_head=d_head,
        rotaries=[read_rotary(config, d_head, share=0.5)] * n_layers,
        windows=[None] * n_layers,
        norms=norms,
        final_norm=lambda t: t.layer_norm("final_layernorm", eps),
        o="dense",
        head_norm=(lambda t, of: t.layer_norm(f"{of}_layernorm", eps)) if normed else None,
        mlp=mlp,
        parallel=True,
    )
