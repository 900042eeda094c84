"""DistilBERT: BERT under other names, with no token types."""

from __future__ import annotations

from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import MLP, Attention, Block, Embedding, Model, Norms, Places, Stack

_EPS = 1e-12  # in the code, not in the config


def distilbert(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("distilbert")
    tensors.pass_over("vocab_*", "pre_classifier.*", "classifier.*", "qa_outputs.*")
    tensors.pass_over("*.position_ids")
    d_head, act = config["dim"] // config["n_heads"], config.activation("activation")
    for said_by_tensors in ("hidden_dim", "max_position_embeddings", "sinusoidal_pos_embds"):
        config.get(said_by_tensors)

    def block(layer: Tensors) -> Block:
        q, k, v, o = (layer.linear(f"attention.{name}_lin") for name in ("q", "k", "v", "out"))
        return Block(
            attn=Attention(q, k, v, o, d_head, d_head**-0.5),
            mlp=MLP(layer.linear("ffn.lin1"), layer.linear("ffn.lin2"), act),
            norms=Norms(
                resid_mid=layer.layer_norm("sa_layer_norm", _EPS),
                resid_post=layer.layer_norm("output_layer_norm", _EPS),
            ),
        )

    e = t / "embeddings"
    return Model(
        embed=Embedding(e.stored("word_embeddings.weight")),
        places={"encoder": Places(e["position_embeddings.weight"])},
        embed_norms={"encoder": e.layer_norm("LayerNorm", _EPS)},
        stacks={
            "encoder": Stack(
                [block(t / f"transformer.layer.{i}") for i in range(config["n_layers"])]
            )
        },
    )
