"""BERT (also MiniLM and most sentence encoders), RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.encoder import DEFAULTS, post_norm_encoder
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.model import Model


def bert(config: Config, tensors: Tensors) -> Model:
    tensors.skip("cls.*")
    return post_norm_encoder(config.with_defaults(DEFAULTS), tensors.inner("bert"))


_VOCABULARY = {"roberta": 50265}  # the default of the others is BERT's


def roberta(config: Config, tensors: Tensors) -> Model:
    kind = config.get("model_type")
    n_tokens = _VOCABULARY.get(kind, DEFAULTS["vocab_size"])
    config = config.with_defaults({**DEFAULTS, "vocab_size": n_tokens})
    n_positions = config.size("max_position_embeddings")
    padding = config.size("pad_token_id", 1, minimum=0, maximum=n_positions - 1)
    return post_norm_encoder(config, tensors.inner("roberta"), padding=padding)


_OWN = {
    "embedding_size": 128,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}


def electra(config: Config, tensors: Tensors) -> Model:
    tensors.skip("discriminator_predictions.*", "generator_*")
    config, t = config.with_defaults({**DEFAULTS, **_OWN}), tensors.inner("electra")
    d_embed, d_model = config.size("embedding_size"), config.size("hidden_size")
    wide = t.linear("embeddings_project", d_embed, d_model) if d_embed != d_model else None
    return post_norm_encoder(config, t, d_embed=d_embed, embed_out=wide)
