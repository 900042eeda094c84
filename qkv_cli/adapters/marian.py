"""MarianMT, the opus-mt models, in transformers' form: sinusoids, norms behind the sub-layers."""

from __future__ import annotations

from qkv_cli.adapters.translator import Shape, sinusoidal_places, translator
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def marian(config: Config, tensors: Tensors) -> Model:
    for said_by_tensors in ("decoder_vocab_size", "share_encoder_decoder_embeddings"):
        config.get(said_by_tensors)
    return translator(config, tensors, Shape(), sinusoidal_places(config, tensors))
