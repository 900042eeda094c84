"""Encoders like BERT: learned positions, and norms after the sub-layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.activations import Activation
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding, Linear, PositionEmbeddings
from qkv_cli.core.model import Model, Stack

DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}


class LayerNames(NamedTuple):
    """The names of a layer's tensors."""

    q: str = "attention.self.query"
    k: str = "attention.self.key"
    v: str = "attention.self.value"
    o: str = "attention.output.dense"
    attn_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    mlp_norm: str = "output.LayerNorm"


BERT = LayerNames()


class LayerSize(NamedTuple):
    """The sizes of a layer."""

    d_model: int
    d_head: int
    n_heads: int
    d_mlp: int


def post_norm_block(
    layer: Tensors, names: LayerNames, size: LayerSize, *, act: Activation, eps: float
) -> Block:
    """Return a block with attention and MLP, each followed by a norm of the sum."""
    d_model, d_query = size.d_model, size.n_heads * size.d_head
    q, k, v = (layer.linear(name, d_model, d_query) for name in (names.q, names.k, names.v))
    up, down = layer.linear(names.up, d_model, size.d_mlp), names.down
    return Block(
        attn=Attention(
            q=q,
            k=k,
            v=v,
            o=layer.linear(names.o, d_query, d_model),
            d_head=size.d_head,
            scale=size.d_head**-0.5,
        ),
        mlp=MLP(up, layer.linear(down, size.d_mlp, d_model), act),
        norms=Norms(
            resid_mid=layer.layer_norm(names.attn_norm, d_model, eps),
            resid_post=layer.layer_norm(names.mlp_norm, d_model, eps),
        ),
    )


def post_norm_encoder(
    config: Config,
    t: Tensors,
    *,
    names: LayerNames = BERT,
    n_passes: int = 1,
    layer_at: Callable[[int], str] = "encoder.layer.{}".format,
    has_positions: bool = True,
    has_types: bool = True,
    padding: int | None = None,
    d_embed: int | None = None,
    embed_out: Linear | None = None,
) -> Model:
    """Build an encoder from the embeddings and layers under `t`.

    Args:
        n_passes: How often the layers run.
        layer_at: Returns the prefix of a layer's tensors.
        has_positions, has_types: Whether there are position and token-type embeddings.
        padding: See `PositionEmbeddings`.
        d_embed: The width of the embeddings, if not d_model; `embed_out` projects to d_model.
    """
    t.skip("*pooler.*", "*.position_ids")
    d_model, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    size = LayerSize(
        d_model, head_width(config, d_model, n_heads), n_heads, config.size("intermediate_size")
    )
    eps, act = config.eps("layer_norm_eps"), config.activation("hidden_act")
    config.ignore("tie_word_embeddings", reason="the masked-language-model head")
    config.one_of("position_embedding_type", ("absolute", None), "absolute")
    config.one_of("is_decoder", (False,), False)
    config.one_of("add_cross_attention", (False,), False)
    n_layers = config.n_layers("num_hidden_layers") * n_passes
    t.require_layer(layer_at(n_layers - 1), n_layers)

    def block(i: int) -> Block:
        return post_norm_block(t / layer_at(i), names, size, act=act, eps=eps)

    e, width = t / "embeddings", d_embed or d_model
    n_types = config.size("type_vocab_size", minimum=0) if has_types else 0
    n_positions = config.size("max_position_embeddings")
    return Model(
        embed=Embedding(e.stored("word_embeddings.weight", config.size("vocab_size"), width)),
        positions={
            "encoder": PositionEmbeddings(
                positions=(
                    e.array("position_embeddings.weight", n_positions, width)
                    if has_positions
                    else None
                ),
                types=e.array("token_type_embeddings.weight", n_types, width) if n_types else None,
                padding=padding,
            )
        },
        embed_norms={"encoder": e.layer_norm("LayerNorm", width, eps)},
        embed_out=embed_out,
        stacks={"encoder": Stack(Blocks(n_layers, block))},
    )
