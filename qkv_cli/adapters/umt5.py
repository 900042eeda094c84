"""UMT5: mT5 with a table of distances in each layer."""

from __future__ import annotations

from qkv_cli.adapters.text_to_text import ALIASES, MULTILINGUAL, text_to_text
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def umt5(config: Config, tensors: Tensors) -> Model:
    config = config.over(MULTILINGUAL, ALIASES)
    scaled = config.flag("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return text_to_text(config, tensors, scaled_output=scaled, shared_bias=False)
