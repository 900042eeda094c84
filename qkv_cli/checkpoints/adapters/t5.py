"""T5, FLAN-T5, mT5 and UMT5."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.text_to_text import ALIASES, DEFAULTS, MULTILINGUAL, text_to_text
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.model import Model


def t5(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS, ALIASES)
    # T5 1.0 scales the decoder's output, 1.1 does not; their configs differ in this setting.
    scaled = config.flag("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return text_to_text(config, tensors, scaled_output=scaled)


def mt5(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(MULTILINGUAL, ALIASES)
    return text_to_text(config, tensors, scaled_output=False)


def umt5(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(MULTILINGUAL, ALIASES)
    scaled = config.flag("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return text_to_text(config, tensors, scaled_output=scaled, shared_bias=False)
