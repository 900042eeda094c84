"""BLOOM: ALiBi in place of positions, and a norm over the embeddings."""

from __future__ import annotations

from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.arrays import gelu_tanh
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors, split_interleaved
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack


def bloom(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("transformer")
    n_heads, eps = config.first("n_head", "num_attention_heads"), config["layer_norm_epsilon"]
    d_head = config.first("n_embed", "hidden_size") // n_heads
    config.one_of("apply_residual_connection_post_layernorm", (False,), False)
    for of_other_code in (
        "bias_dropout_fusion",
        "masked_softmax_fusion",
        "offset_alibi",
        "n_inner",
    ):
        config.get(of_other_code)
    for of_other_code in ("skip_bias_add", "skip_bias_add_qkv", "seq_length"):
        config.get(of_other_code)
    config.get("slow_but_exact")  # how the same sums are taken over several devices

    def block(layer: Tensors) -> Block:
        q, k, v = split_interleaved(layer.linear("self_attention.query_key_value"), n_heads)
        return Block(
            attn=Attention(q, k, v, layer.linear("self_attention.dense"), d_head, d_head**-0.5),
            mlp=MLP(
                layer.linear("mlp.dense_h_to_4h"), layer.linear("mlp.dense_4h_to_h"), gelu_tanh
            ),
            norms=Norms(
                attn_in=layer.layer_norm("input_layernorm", eps),
                mlp_in=layer.layer_norm("post_attention_layernorm", eps),
            ),
        )

    table = t.stored("word_embeddings.weight")
    return Model(
        embed=Embedding(table),
        embed_norms={"decoder": t.layer_norm("word_embeddings_layernorm", eps)},
        stacks={
            "decoder": Stack(
                blocks=Blocks(
                    config.first("n_layer", "num_hidden_layers"), lambda i: block(t / f"h.{i}")
                ),
                causal=True,
                alibi=n_heads,
                final_norm=t.layer_norm("ln_f", eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table, tied=True),
    )
