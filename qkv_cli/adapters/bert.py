"""BERT, and so MiniLM and most sentence encoders."""

from __future__ import annotations

from qkv_cli.adapters.encoder import DEFAULTS, post_norm_encoder
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def bert(config: Config, tensors: Tensors) -> Model:
    tensors.pass_over("cls.*")
    return post_norm_encoder(config.over(DEFAULTS), tensors.inner("bert"))
