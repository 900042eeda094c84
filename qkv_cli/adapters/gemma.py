"""Gemma: norms that leave 1 out of their weights, and scaled embeddings."""

from __future__ import annotations

from qkv_cli.adapters.decoder import head_size, pre_norms, rotary_decoder
from qkv_cli.adapters.rope import read_rotary
from qkv_cli.core.arrays import gelu_tanh
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def gemma(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["rms_norm_eps"], config["num_hidden_layers"]
    config.one_of("use_bidirectional_attention", (False,), False)
    # The first files said "gelu" and meant its approximation.
    config.one_of("hidden_act", ("gelu", "gelu_pytorch_tanh"), "gelu")
    config.one_of("hidden_activation", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
    return rotary_decoder(
        config,
        tensors,
        act=gelu_tanh,
        d_head=d_head,
        rotaries=[read_rotary(config, d_head)] * n_layers,
        windows=[None] * n_layers,
        norms=pre_norms(eps, offset=1.0),
        final_norm=lambda t: t.rms_norm("norm", eps, offset=1.0),
        embed_scale=config["hidden_size"] ** 0.5,
        tied=True,
    )
