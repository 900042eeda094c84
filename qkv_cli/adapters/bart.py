"""BART: learned positions, norms behind the sub-layers and behind the embedding."""

from __future__ import annotations

from qkv_cli.adapters.translator import ALIASES, DEFAULTS, Shape, learned_places, translator
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def bart(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS, ALIASES)
    places = learned_places(config, tensors)
    return translator(config, tensors, Shape(has_embed_norm=True), places)
