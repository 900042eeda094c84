"""MarianMT, the opus-mt models, in transformers' form: sinusoids, norms behind the sub-layers."""

from __future__ import annotations

from qkv_cli.adapters.translator import ALIASES, DEFAULTS, Shape, sinusoidal_places, translator
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def marian(config: Config, tensors: Tensors) -> Model:
    config = config.over({**DEFAULTS, "vocab_size": 58101}, ALIASES)
    config.ignore(
        "decoder_vocab_size",
        "share_encoder_decoder_embeddings",
        why="the file has one table for both, or two",
    )
    return translator(config, tensors, Shape(), sinusoidal_places(config, tensors))
