"""DistilBERT: BERT with other tensor names and without token types."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.encoder import LayerNames, LayerSize, post_norm_block
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import Block, Blocks
from qkv_cli.core.layers import Embedding, PositionEmbeddings
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
DEFAULTS = {
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "n_layers": 6,
    "n_heads": 12,
    "dim": 768,
    "hidden_dim": 3072,
    "activation": "gelu",
}
ALIASES = {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"}


def distilbert(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults(DEFAULTS, ALIASES), tensors.inner("distilbert")
    tensors.skip("vocab_*", "pre_classifier.*", "*.position_ids")
    d_model, n_heads = config.size("dim"), config.size("n_heads")
    size = LayerSize(
        d_model, head_width(config, d_model, n_heads), n_heads, config.size("hidden_dim")
    )
    act, n_layers = config.activation("activation"), config.n_layers("n_layers")
    config.ignore("tie_word_embeddings", reason="the masked-language-model head")
    config.ignore("sinusoidal_pos_embds", reason="the file contains the table")
    t.require_layer(f"transformer.layer.{n_layers - 1}", n_layers)

    def block(i: int) -> Block:
        return post_norm_block(t / f"transformer.layer.{i}", _NAMES, size, act=act, eps=_EPS)

    e, n_positions = t / "embeddings", config.size("max_position_embeddings")
    return Model(
        embed=Embedding(e.stored("word_embeddings.weight", config.size("vocab_size"), d_model)),
        positions={
            "encoder": PositionEmbeddings(
                e.array("position_embeddings.weight", n_positions, d_model)
            )
        },
        embed_norms={"encoder": e.layer_norm("LayerNorm", d_model, _EPS)},
        stacks={"encoder": Stack(Blocks(n_layers, block))},
    )
