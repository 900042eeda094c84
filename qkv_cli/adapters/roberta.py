"""RoBERTa, XLM-RoBERTa, CamemBERT: BERT whose positions start behind the padding's."""

from __future__ import annotations

from qkv_cli.adapters.encoder import post_norm_encoder
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model


def roberta(config: Config, tensors: Tensors) -> Model:
    padding = config.get("pad_token_id", 1)
    return post_norm_encoder(config, tensors.inner("roberta"), padding=padding)
