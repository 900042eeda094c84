"""M2M-100 and NLLB: sinusoids that count from behind the padding, norms before the sub-layers."""

from __future__ import annotations

from functools import partial

import numpy as np

from qkv_cli.adapters.translator import ALIASES, DEFAULTS, STACKS, Shape, places_of, translator
from qkv_cli.core.arrays import Array
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import Places
from qkv_cli.core.model import Model
from qkv_cli.core.positions import sinusoids

_OWN = {"vocab_size": 128_112, "activation_function": "relu", "scale_embedding": True}


def m2m_100(config: Config, tensors: Tensors) -> Model:
    config = config.over({**DEFAULTS, **_OWN}, ALIASES)
    tensors.pass_over("*.embed_positions.weights")  # computed anew, as transformers does
    n_places, d_model = places_of(config, tensors)
    padding = config.size("pad_token_id", 1, least=0, most=n_places)
    half = d_model // 2
    # In single precision, as theirs; the exponential itself is exact.
    power = np.arange(half, dtype=np.float32) * np.float32(-np.log(10_000) / (half - 1))
    rate = np.exp(power.astype(np.float64)).astype(np.float32)
    places = Places(computed=partial(_table, rate, padding), padding=padding)
    return translator(config, tensors, Shape(is_pre_norm=True), dict.fromkeys(STACKS, places))


def _table(rate: Array, padding: int, n_rows: int) -> Array:
    """As many rows as a text needs: beyond max_position_embeddings, transformers makes more too."""
    table = sinusoids(n_rows, rate)
    table[padding] = 0
    return table
