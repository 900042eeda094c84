"""PEGASUS: sinusoids, norms before the sub-layers."""

from __future__ import annotations

from qkv_cli.adapters.translator import ALIASES, DEFAULTS, Shape, sinusoidal_places, translator
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def pegasus(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS, ALIASES)
    shape = Shape(is_pre_norm=True)
    return translator(config, tensors, shape, sinusoidal_places(config, tensors))
