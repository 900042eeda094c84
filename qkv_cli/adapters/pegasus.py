"""PEGASUS: sinusoids, norms before the sub-layers."""

from __future__ import annotations

from qkv_cli.adapters.translator import Shape, sinusoidal_places, translator
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def pegasus(config: Config, tensors: Tensors) -> Model:
    return translator(config, tensors, Shape(pre_norm=True), sinusoidal_places(config, tensors))
