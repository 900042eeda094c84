"""OLMo 2: norms follow each sub-layer, and run over all queries or keys at once."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_size, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.blocks import Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def olmo2(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["rms_norm_eps"], config["num_hidden_layers"]
    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_act"),
        d_head=d_head,
        rotaries=[read_rotary(config, d_head)] * n_layers,
        windows=[None] * n_layers,
        norms=lambda layer: Norms(
            attn_out=layer.rms_norm("post_attention_layernorm", eps),
            mlp_out=layer.rms_norm("post_feedforward_layernorm", eps),
        ),
        final_norm=lambda t: t.rms_norm("norm", eps),
        head_norm=lambda t, of: t.rms_norm(f"{of}_norm", eps),
    )
