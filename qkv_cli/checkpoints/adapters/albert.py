"""ALBERT: BERT with weights shared by the layers, and embeddings of another width."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.encoder import DEFAULTS, LayerNames, post_norm_encoder
from qkv_cli.checkpoints.config import MAX_LAYERS, Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.model import Model

_NAMES = LayerNames(
    q="attention.query",
    k="attention.key",
    v="attention.value",
    o="attention.dense",
    attn_norm="attention.LayerNorm",
    up="ffn",
    down="ffn_output",
    mlp_norm="full_layer_layer_norm",
)
_CHANGED_DEFAULTS = {
    "vocab_size": 30000,
    "embedding_size": 128,
    "hidden_size": 4096,
    "num_hidden_groups": 1,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "inner_group_num": 1,
    "hidden_act": "gelu_new",
}


def albert(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults({**DEFAULTS, **_CHANGED_DEFAULTS}), tensors.inner("albert")
    tensors.skip("predictions.*", "sop_classifier.*")
    config.ignore(
        "down_scale_factor",
        "gap_size",
        "layers_to_keep",
        "net_structure_type",
        "num_memory_blocks",
        reason="settings of the first implementation; transformers' class does not read them",
    )
    n_layers = config.n_layers("num_hidden_layers")
    n_inner = config.size("inner_group_num", maximum=MAX_LAYERS)
    n_groups = config.size("num_hidden_groups", maximum=n_layers)
    d_embed = config.size("embedding_size")

    def layer_at(i: int) -> str:
        group, inner = int(i // n_inner / (n_layers / n_groups)), i % n_inner
        return f"encoder.albert_layer_groups.{group}.albert_layers.{inner}"

    return post_norm_encoder(
        config,
        t,
        names=_NAMES,
        n_passes=n_inner,
        layer_at=layer_at,
        d_embed=d_embed,
        embed_out=t.linear(
            "encoder.embedding_hidden_mapping_in", d_embed, config.size("hidden_size")
        ),
    )
