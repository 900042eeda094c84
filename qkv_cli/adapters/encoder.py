"""The shape that BERT gave to encoders: learned positions, norms behind the sub-layers."""

from __future__ import annotations

from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import (
    MLP,
    Attention,
    Block,
    Blocks,
    Embedding,
    Linear,
    Model,
    Norms,
    Places,
    Stack,
)


def post_norm_encoder(
    config: Config, t: Tensors, *, first_position: int = 0, embed_out: Linear | None = None
) -> Model:
    """Under `t`: embeddings, and encoder.layer.0 and on.

    Args:
        first_position: The row of the first token's position.
    """
    d_head = config["hidden_size"] // config["num_attention_heads"]
    eps, act = config["layer_norm_eps"], config.activation("hidden_act")
    config.one_of("position_embedding_type", ("absolute",), "absolute")
    config.one_of("is_decoder", (False,), False)
    config.one_of("add_cross_attention", (False,), False)
    for said_by_tensors in ("intermediate_size", "max_position_embeddings", "type_vocab_size"):
        config.get(said_by_tensors)

    def block(layer: Tensors) -> Block:
        q, k, v = (layer.linear(f"attention.self.{name}") for name in ("query", "key", "value"))
        o = layer.linear("attention.output.dense")
        return Block(
            attn=Attention(q, k, v, o, d_head, d_head**-0.5),
            mlp=MLP(layer.linear("intermediate.dense"), layer.linear("output.dense"), act),
            norms=Norms(
                resid_mid=layer.layer_norm("attention.output.LayerNorm", eps),
                resid_post=layer.layer_norm("output.LayerNorm", eps),
            ),
        )

    e = t / "embeddings"
    return Model(
        embed=Embedding(e.stored("word_embeddings.weight")),
        places={
            "encoder": Places(
                e["position_embeddings.weight"][first_position:],
                e.optional("token_type_embeddings.weight"),
            )
        },
        embed_norms={"encoder": e.layer_norm("LayerNorm", eps)},
        embed_out=embed_out,
        stacks={
            "encoder": Stack(
                Blocks(config["num_hidden_layers"], lambda i: block(t / f"encoder.layer.{i}"))
            )
        },
    )
