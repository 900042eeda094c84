"""Qwen 3: Qwen 2 with a norm on each head's queries and keys in place of biases."""

from __future__ import annotations

from qkv_cli.adapters.decoder import read_size
from qkv_cli.adapters.qwen2 import DEFAULTS, qwen
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def qwen3(config: Config, tensors: Tensors) -> Model:
    config = config.over({**DEFAULTS, "head_dim": 128, "attention_bias": False})
    size, eps = read_size(config), config.eps("rms_norm_eps")
    has_bias = config.flag("attention_bias")
    return qwen(
        config,
        tensors,
        size,
        qkv_bias=has_bias,
        o_bias=has_bias,
        head_norm=lambda attn, of: attn.rms_norm(f"{of}_norm", size.d_head, eps),
    )
