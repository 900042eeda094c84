"""Granite: Llama with a factor at the embeddings, the scores and what each sub-layer adds."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_size, pre_norms, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def granite(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["rms_norm_eps"], config["num_hidden_layers"]
    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_act"),
        d_head=d_head,
        rotaries=[read_rotary(config, d_head)] * n_layers,
        windows=[None] * n_layers,
        norms=pre_norms(eps),
        final_norm=lambda t: t.rms_norm("norm", eps),
        scale=config.get("attention_multiplier", 1.0),
        embed_scale=config.get("embedding_multiplier", 1.0),
        resid_scale=config.get("residual_multiplier", 1.0),
        logit_scale=1 / config.get("logits_scaling", 1.0),
    )
