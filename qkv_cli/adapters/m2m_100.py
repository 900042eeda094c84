"""M2M-100 and NLLB: sinusoids that count from behind the padding, norms before the sub-layers."""

from __future__ import annotations

import numpy as np

from qkv_cli.adapters.translator import STACKS, Shape, places_of, translator
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import Places
from qkv_cli.core.model import Model
from qkv_cli.core.positions import sinusoids
from qkv_cli.errors import CheckpointError


def m2m_100(config: Config, tensors: Tensors) -> Model:
    tensors.pass_over("*.embed_positions.weights")  # computed anew, as transformers does
    (n_ctx, d_model), pad = places_of(config, tensors), config.get("pad_token_id", 1)
    if type(pad) is not int or not 0 <= pad < n_ctx:
        raise CheckpointError(f"config.json has pad_token_id {pad!r}.")
    half = d_model // 2
    # In single precision, as theirs; the exponential itself is exact.
    power = np.arange(half, dtype=np.float32) * np.float32(-np.log(10_000) / (half - 1))
    rate = np.exp(power.astype(np.float64)).astype(np.float32)
    table = sinusoids(n_ctx + pad + 1, rate)
    table[pad] = 0
    shape = Shape(pre_norm=True, scale_embedding=True, activation="relu")
    return translator(config, tensors, shape, dict.fromkeys(STACKS, Places(table, padding=pad)))
