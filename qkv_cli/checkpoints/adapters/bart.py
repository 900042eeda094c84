"""BART, mBART, PEGASUS, MarianMT (opus-mt), M2M-100 and NLLB."""

from __future__ import annotations

from functools import partial

import numpy as np

from qkv_cli.checkpoints.adapters.translator import (
    ALIASES,
    DEFAULTS,
    STACKS,
    NormLayout,
    learned_positions,
    position_table_size,
    sinusoidal_positions,
    translator,
)
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.arrays import Array
from qkv_cli.core.layers import PositionEmbeddings
from qkv_cli.core.model import Model
from qkv_cli.core.positions import sinusoids


def bart(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS, ALIASES)
    positions = learned_positions(config, tensors)
    return translator(config, tensors, NormLayout(has_embed_norm=True), positions)


def mbart(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS, ALIASES)
    layout = NormLayout(is_pre_norm=True, has_embed_norm=True)
    return translator(config, tensors, layout, learned_positions(config, tensors))


def pegasus(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS, ALIASES)
    layout = NormLayout(is_pre_norm=True)
    return translator(config, tensors, layout, sinusoidal_positions(config, tensors))


def marian(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults({**DEFAULTS, "vocab_size": 58101}, ALIASES)
    config.ignore(
        "decoder_vocab_size",
        "share_encoder_decoder_embeddings",
        reason="the tensors show whether there is one table or two",
    )
    return translator(config, tensors, NormLayout(), sinusoidal_positions(config, tensors))


_CHANGED_DEFAULTS = {"vocab_size": 128_112, "activation_function": "relu", "scale_embedding": True}


def m2m_100(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults({**DEFAULTS, **_CHANGED_DEFAULTS}, ALIASES)
    tensors.skip("*.embed_positions.weights")  # recomputed, as in transformers
    n_positions, d_model = position_table_size(config, tensors)
    padding = config.size("pad_token_id", 1, minimum=0, maximum=n_positions)
    n_rates = d_model // 2
    # In single precision, as in transformers, except the exponential.
    power = np.arange(n_rates, dtype=np.float32) * np.float32(-np.log(10_000) / (n_rates - 1))
    rate = np.exp(power.astype(np.float64)).astype(np.float32)
    positions = PositionEmbeddings(computed=partial(_table, rate, padding), padding=padding)
    return translator(
        config, tensors, NormLayout(is_pre_norm=True), dict.fromkeys(STACKS, positions)
    )


def _table(rate: Array, padding: int, n_rows: int) -> Array:
    """Return n_rows rows; like transformers, also beyond max_position_embeddings."""
    table = sinusoids(n_rows, rate)
    table[padding] = 0
    return table
