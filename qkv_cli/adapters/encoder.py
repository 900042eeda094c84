"""The shape that BERT gave to encoders: learned positions, norms behind the sub-layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from qkv_cli.core.arrays import Activation
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding, Linear, Places
from qkv_cli.core.model import Model, Stack


class LayerNames(NamedTuple):
    """What a layer calls its parts."""

    q: str = "attention.self.query"
    k: str = "attention.self.key"
    v: str = "attention.self.value"
    o: str = "attention.output.dense"
    attn_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    mlp_norm: str = "output.LayerNorm"


BERT = LayerNames()


def post_norm_block(
    layer: Tensors, names: LayerNames, *, d_head: int, act: Activation, eps: float
) -> Block:
    """Attention, the MLP, and a norm of the sum behind either."""
    q, k, v, o = (layer.linear(name) for name in names[:4])
    return Block(
        attn=Attention(q, k, v, o, d_head, d_head**-0.5),
        mlp=MLP(layer.linear(names.up), layer.linear(names.down), act),
        norms=Norms(
            resid_mid=layer.layer_norm(names.attn_norm, eps),
            resid_post=layer.layer_norm(names.mlp_norm, eps),
        ),
    )


def post_norm_encoder(
    config: Config,
    t: Tensors,
    *,
    names: LayerNames = BERT,
    n_layers: int | None = None,
    layer_at: Callable[[int], str] = "encoder.layer.{}".format,
    positions: bool = True,
    padding: int | None = None,
    embed_out: Linear | None = None,
) -> Model:
    """Under `t`: embeddings and layers.

    Args:
        n_layers: num_hidden_layers if not given.
        layer_at: Where a layer's tensors are.
        positions: Whether a token's place is added to its vector.
        padding: See `Places`.
    """
    t.pass_over("*pooler.*", "*.position_ids")
    d_head = config["hidden_size"] // config["num_attention_heads"]
    eps, act = config["layer_norm_eps"], config.activation("hidden_act")
    config.one_of("position_embedding_type", ("absolute",), "absolute")
    config.one_of("is_decoder", (False,), False)
    config.one_of("add_cross_attention", (False,), False)
    for said_by_tensors in ("intermediate_size", "max_position_embeddings"):
        config.get(said_by_tensors)

    if n_layers is None:
        n_layers = config["num_hidden_layers"]

    def block(i: int) -> Block:
        return post_norm_block(t / layer_at(i), names, d_head=d_head, act=act, eps=eps)

    e = t / "embeddings"
    types = "token_type_embeddings.weight"
    return Model(
        embed=Embedding(e.stored("word_embeddings.weight")),
        places={
            "encoder": Places(
                e["position_embeddings.weight"] if positions else None,
                e[types] if config.get("type_vocab_size") else e.optional(types),
                padding,
            )
        },
        embed_norms={"encoder": e.layer_norm("LayerNorm", eps)},
        embed_out=embed_out,
        stacks={"encoder": Stack(Blocks(n_layers, block))},
    )
