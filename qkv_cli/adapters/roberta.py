"""RoBERTa, XLM-RoBERTa, CamemBERT: BERT whose positions start behind the padding's."""

from __future__ import annotations

from qkv_cli.adapters.encoder import DEFAULTS, post_norm_encoder
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model

_VOCABULARY = {"roberta": 50265}  # the others have BERT's where their config says nothing


def roberta(config: Config, tensors: Tensors) -> Model:
    kind = config.get("model_type")
    n_tokens = _VOCABULARY.get(kind, DEFAULTS["vocab_size"])
    config = config.over({**DEFAULTS, "vocab_size": n_tokens})
    n_places = config.size("max_position_embeddings")
    padding = config.size("pad_token_id", 1, least=0, most=n_places - 1)
    return post_norm_encoder(config, tensors.inner("roberta"), padding=padding)
