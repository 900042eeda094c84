"""Phi 3 and Phi 4: Llama with its projections fused, and positions that stretch (LongRoPE)."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_size, pre_norms, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.arrays import Activation
from qkv_cli.core.checkpoint import Tensors, split_linear
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Linear
from qkv_cli.core.model import Model


def phi3(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["rms_norm_eps"], config["num_hidden_layers"]
    for of_other_code in ("full_attn_mod", "interpolate_factor", "lm_head_bias"):
        config.get(of_other_code)
    n_heads = config["num_attention_heads"]
    n_kv_heads = config.get("num_key_value_heads", n_heads)

    def qkv(attn: Tensors) -> list[Linear]:
        widths = [n_heads * d_head, n_kv_heads * d_head, n_kv_heads * d_head]
        return split_linear(attn.linear("qkv_proj"), widths)

    def mlp(layer: Tensors, act: Activation) -> MLP:
        fused = layer.linear("mlp.gate_up_proj")
        gate, up = split_linear(fused, [fused.W.shape[1] // 2] * 2)
        return MLP(up, layer.linear("mlp.down_proj"), act, gate=gate)

    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_act"),
        d_head=d_head,
        rotaries=[read_rotary(config, d_head)] * n_layers,
        windows=[config.get("sliding_window")] * n_layers,
        norms=pre_norms(eps),
        final_norm=lambda t: t.rms_norm("norm", eps),
        qkv=qkv,
        mlp=mlp,
    )
