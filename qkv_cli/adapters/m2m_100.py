"""M2M-100 and NLLB: sinusoids that count from behind the padding, norms before the sub-layers."""

from __future__ import annotations

import numpy as np

from qkv_cli.adapters.translator import STACKS, Shape, translator
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model, Places
from qkv_cli.core.positions import sinusoids


def m2m_100(config: Config, tensors: Tensors) -> Model:
    tensors.pass_over("*.embed_positions.weights")  # computed anew, as transformers does
    half, pad = config["d_model"] // 2, config.get("pad_token_id", 1)
    # In single precision, as theirs.
    rate = np.exp(np.arange(half, dtype=np.float32) * np.float32(-np.log(10_000) / (half - 1)))
    table = sinusoids(config.get("max_position_embeddings", 1024) + pad + 1, rate)
    table[pad] = 0
    shape = Shape(pre_norm=True, scale_embedding=True, activation="relu")
    return translator(config, tensors, shape, dict.fromkeys(STACKS, Places(table, padding=pad)))
