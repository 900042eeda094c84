"""ALBERT: BERT whose layers share their weights, with embeddings of their own size."""

from __future__ import annotations

from qkv_cli.adapters.encoder import LayerNames, post_norm_encoder
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
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
_UNUSED = ("down_scale_factor", "gap_size", "layers_to_keep", "net_structure_type")


def albert(config: Config, tensors: Tensors) -> Model:
    tensors.pass_over("predictions.*", "sop_classifier.*")
    for name in (*_UNUSED, "num_memory_blocks", "embedding_size"):
        config.get(name)
    t = tensors.inner("albert")
    n_passes, n_inner = config["num_hidden_layers"], config.get("inner_group_num", 1)
    per_group = n_passes / config.get("num_hidden_groups", 1)

    def layer_at(i: int) -> str:
        group, inner = int(i // n_inner / per_group), i % n_inner
        return f"encoder.albert_layer_groups.{group}.albert_layers.{inner}"

    return post_norm_encoder(
        config,
        t,
        names=_NAMES,
        n_layers=n_passes * n_inner,
        layer_at=layer_at,
        embed_out=t.linear("encoder.embedding_hidden_mapping_in"),
    )
