"""mT5: T5 1.1 in many languages."""

from __future__ import annotations

from qkv_cli.adapters.text_to_text import ALIASES, MULTILINGUAL, text_to_text
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def mt5(config: Config, tensors: Tensors) -> Model:
    config = config.over(MULTILINGUAL, ALIASES)
    return text_to_text(config, tensors, scaled_output=False)
