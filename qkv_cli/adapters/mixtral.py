"""Mixtral: Mistral with eight MLPs a layer, of which each token goes through two."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_size, pre_norms, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.arrays import Activation
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Experts
from qkv_cli.core.model import Model


def mixtral(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["rms_norm_eps"], config["num_hidden_layers"]
    n_chosen = config.get("num_experts_per_tok", 2)
    for of_training in ("num_local_experts", "router_aux_loss_coef", "router_jitter_noise"):
        config.get(of_training)

    def experts(layer: Tensors, act: Activation) -> Experts:
        moe = layer / "block_sparse_moe"

        def make(i: int) -> MLP:
            gate, down, up = (moe.linear(f"experts.{i}.w{n}") for n in (1, 2, 3))
            return MLP(up, down, act, gate=gate)

        return Experts(moe.linear("gate"), make, n_chosen)

    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_act"),
        d_head=d_head,
        rotaries=[read_rotary(config, d_head, theta=1_000_000.0)] * n_layers,
        windows=[config.get("sliding_window")] * n_layers,
        norms=pre_norms(eps),
        final_norm=lambda t: t.rms_norm("norm", eps),
        mlp=experts,
    )
