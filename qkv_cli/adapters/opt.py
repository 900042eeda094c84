"""OPT: GPT-2's shape with ReLU, separate projections and two spare position rows."""

from __future__ import annotations

from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import MLP, Attention, Block, Embedding, Model, Norms, Places, Stack

_EPS = 1e-5  # in the code, not in the config


def opt(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("model") / "decoder"
    tensors.pass_over("lm_head.*")
    d_model = config["hidden_size"]
    d_head = d_model // config["num_attention_heads"]
    # opt-350m normalises behind the sub-layers and embeds in fewer dimensions.
    config.one_of("do_layer_norm_before", (True,), True)
    config.one_of("word_embed_proj_dim", (d_model,), d_model)
    config.one_of("_remove_final_layer_norm", (False,), False)
    act = config.activation("activation_function", "relu")
    for said_by_tensors in ("ffn_dim", "enable_bias", "layer_norm_elementwise_affine"):
        config.get(said_by_tensors)
    config.get("max_position_embeddings")

    def block(layer: Tensors) -> Block:
        q, k, v, o = (layer.linear(f"self_attn.{name}_proj") for name in ("q", "k", "v", "out"))
        return Block(
            attn=Attention(q, k, v, o, d_head, d_head**-0.5),
            mlp=MLP(layer.linear("fc1"), layer.linear("fc2"), act),
            norms=Norms(
                attn_in=layer.layer_norm("self_attn_layer_norm", _EPS),
                mlp_in=layer.layer_norm("final_layer_norm", _EPS),
            ),
        )

    return Model(
        embed=Embedding(t.stored("embed_tokens.weight")),
        places={"decoder": Places(t["embed_positions.weight"][2:])},
        stacks={
            "decoder": Stack(
                blocks=[block(t / f"layers.{i}") for i in range(config["num_hidden_layers"])],
                causal=True,
                final_norm=t.layer_norm("final_layer_norm", _EPS),
            )
        },
    )
