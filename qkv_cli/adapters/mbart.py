"""mBART: BART with its norms before the sub-layers, and one behind the last."""

from __future__ import annotations

from qkv_cli.adapters.translator import ALIASES, DEFAULTS, Shape, learned_places, translator
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def mbart(config: Config, tensors: Tensors) -> Model:
    config = config.over(DEFAULTS, ALIASES)
    shape = Shape(is_pre_norm=True, has_embed_norm=True)
    return translator(config, tensors, shape, learned_places(config, tensors))
