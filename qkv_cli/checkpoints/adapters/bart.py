"""BART, mBART, PEGASUS, MarianMT (opus-mt), M2M-100 and NLLB."""

from __future__ import annotations

from functools import partial

import numpy as np

from qkv_cli.checkpoints.adapters.translator import (
    ALIASES,
    DEFAULTS,
    STACKS,
    NormLayout,
    learned_places,
    places_of,
    sinusoidal_places,
    translator,
)
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.arrays import Array
from qkv_cli.core.layers import PositionEmbeddings
from qkv_cli.core.model import Model
from qkv_cli.core.positions import sinusoids


def bart(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS, ALIASES)
    places = learned_places(config, tensors)
    return translator(config, tensors, NormLayout(has_embed_norm=True), places)


def mbart(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS, ALIASES)
    shape = NormLayout(is_pre_norm=True, has_embed_norm=True)
    return translator(config, tensors, shape, learned_places(config, tensors))


def pegasus(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS, ALIASES)
    shape = NormLayout(is_pre_norm=True)
    return translator(config, tensors, shape, sinusoidal_places(config, tensors))


def marian(config: Config, tensors: Tensors) -> Model:
    config = config.over({**DEFAULTS, "vocab_size": 58101}, ALIASES)
    config.ignore(
        "decoder_vocab_size",
        "share_encoder_decoder_embeddings",
        why="the file has one table for both, or two",
    )
    return translator(config, tensors, NormLayout(), sinusoidal_places(config, tensors))


_OWN = {"vocab_size": 128_112, "activation_function": "relu", "scale_embedding": True}


def m2m_100(config: Config, tensors: Tensors) -> Model:
    config = config.over({**DEFAULTS, **_OWN}, ALIASES)
    tensors.pass_over("*.embed_positions.weights")  # recomputed, as in transformers
    n_positions, d_model = places_of(config, tensors)
    padding = config.size("pad_token_id", 1, least=0, most=n_positions)
    half = d_model // 2
    # In single precision, as in transformers, except the exponential.
    power = np.arange(half, dtype=np.float32) * np.float32(-np.log(10_000) / (half - 1))
    rate = np.exp(power.astype(np.float64)).astype(np.float32)
    places = PositionEmbeddings(computed=partial(_table, rate, padding), padding=padding)
    return translator(config, tensors, NormLayout(is_pre_norm=True), dict.fromkeys(STACKS, places))


def _table(rate: Array, padding: int, n_rows: int) -> Array:
    """Return n_rows rows; like transformers, also beyond max_position_embeddings."""
    table = sinusoids(n_rows, rate)
    table[padding] = 0
    return table
