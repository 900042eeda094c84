"""BART: learned positions, norms behind the sub-layers and behind the embedding."""

from __future__ import annotations

from qkv_cli.adapters.translator import Shape, learned_places, translator
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def bart(config: Config, tensors: Tensors) -> Model:
    return translator(config, tensors, Shape(embed_norm=True), learned_places(tensors))
