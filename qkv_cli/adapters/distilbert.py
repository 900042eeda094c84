"""DistilBERT: BERT under other names, with no token types."""

from __future__ import annotations

from qkv_cli.adapters.encoder import LayerNames, post_norm_block
from qkv_cli.core.blocks import Block, Blocks
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import Embedding, Places
from qkv_cli.core.model import Model, Stack

_EPS = 1e-12  # in the code, not in the config
_NAMES = LayerNames(
    q="attention.q_lin",
    k="attention.k_lin",
    v="attention.v_lin",
    o="attention.out_lin",
    attn_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    mlp_norm="output_layer_norm",
)


def distilbert(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("distilbert")
    tensors.pass_over("vocab_*", "pre_classifier.*", "*.position_ids")
    d_head, act = config["dim"] // config["n_heads"], config.activation("activation")
    for said_by_tensors in ("hidden_dim", "max_position_embeddings", "sinusoidal_pos_embds"):
        config.get(said_by_tensors)

    def block(i: int) -> Block:
        layer = t / f"transformer.layer.{i}"
        return post_norm_block(layer, _NAMES, d_head=d_head, act=act, eps=_EPS)

    e = t / "embeddings"
    return Model(
        embed=Embedding(e.stored("word_embeddings.weight")),
        places={"encoder": Places(e["position_embeddings.weight"])},
        embed_norms={"encoder": e.layer_norm("LayerNorm", _EPS)},
        stacks={"encoder": Stack(Blocks(config["n_layers"], block))},
    )
