"""OPT: GPT-2's shape with ReLU, separate projections and two spare position rows."""

from __future__ import annotations

from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding, Norm, Places
from qkv_cli.core.model import Model, Stack

_EPS = 1e-5  # in the code, not in the config


def opt(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("model") / "decoder"
    d_model = config["hidden_size"]
    d_head = d_model // config["num_attention_heads"]
    # opt-350m normalises behind the sub-layers and embeds in fewer dimensions.
    before = config.get("do_layer_norm_before", True)
    removed = config.get("_remove_final_layer_norm", False)
    narrow = config.get("word_embed_proj_dim", d_model) != d_model
    affine = config.get("layer_norm_elementwise_affine", True)
    config.one_of("learned_embeddings", (True,), True)
    config.one_of("scale_embeddings", (False,), False)
    act = config.activation("activation_function", "relu")
    for said_by_tensors in ("ffn_dim", "enable_bias", "max_position_embeddings"):
        config.get(said_by_tensors)

    def norm(t: Tensors, name: str) -> Norm:
        return t.layer_norm(name, _EPS) if affine else Norm(None, None, _EPS, True)

    def norms(layer: Tensors) -> Norms:
        first, second = norm(layer, "self_attn_layer_norm"), norm(layer, "final_layer_norm")
        return Norms(first, mlp_in=second) if before else Norms(resid_mid=first, resid_post=second)

    def block(layer: Tensors) -> Block:
        q, k, v, o = (layer.linear(f"self_attn.{name}_proj") for name in ("q", "k", "v", "out"))
        return Block(
            attn=Attention(q, k, v, o, d_head, d_head**-0.5),
            mlp=MLP(layer.linear("fc1"), layer.linear("fc2"), act),
            norms=norms(layer),
        )

    table = t.stored("embed_tokens.weight")
    into = t.linear("project_out") if narrow else None
    return Model(
        embed=Embedding(table, out=t.linear("project_in") if narrow else None),
        places={"decoder": Places(t["embed_positions.weight"][2:])},
        stacks={
            "decoder": Stack(
                blocks=Blocks(config["num_hidden_layers"], lambda i: block(t / f"layers.{i}")),
                causal=True,
                final_norm=norm(t, "final_layer_norm") if before and not removed else None,
            )
        },
        unembed=decoder_unembedding(config, tensors, table, tied=True, into=into),
    )
