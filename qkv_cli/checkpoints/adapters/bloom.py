"""BLOOM: ALiBi instead of position embeddings, and a norm of the embeddings."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.vocabulary import decoder_unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors, split_interleaved
from qkv_cli.core.activations import gelu_tanh
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack

DEFAULTS = {
    "vocab_size": 250_880,
    "hidden_size": 64,
    "n_layer": 2,
    "n_head": 8,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}
ALIASES = {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}


def bloom(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults(DEFAULTS, ALIASES), tensors.inner("transformer")
    n_heads, eps = config.size("n_head"), config.eps("layer_norm_epsilon")
    d_model = config.optional_size("n_embed") or config.size("hidden_size")
    config.ignore("hidden_size", reason="n_embed takes precedence")
    d_head, n_layers = head_width(config, d_model, n_heads), config.n_layers("n_layer")
    d_query = n_heads * d_head
    config.one_of("apply_residual_connection_post_layernorm", (False,), False)
    config.ignore(
        "bias_dropout_fusion",
        "masked_softmax_fusion",
        "n_inner",
        "offset_alibi",
        "seq_length",
        "skip_bias_add",
        "skip_bias_add_qkv",
        reason="settings of the training code; transformers' class does not read them",
    )
    config.ignore("slow_but_exact", reason="how the same sums are computed on several devices")
    t.require_layer(f"h.{n_layers - 1}", n_layers)

    def block(i: int) -> Block:
        layer = t / f"h.{i}"
        fused = layer.linear("self_attention.query_key_value", d_model, 3 * d_query)
        q, k, v = split_interleaved(fused, n_heads)
        o = layer.linear("self_attention.dense", d_query, d_model)
        up = layer.linear("mlp.dense_h_to_4h", d_model, 4 * d_model)
        return Block(
            attn=Attention(q=q, k=k, v=v, o=o, d_head=d_head, scale=d_head**-0.5),
            mlp=MLP(up, layer.linear("mlp.dense_4h_to_h", 4 * d_model, d_model), gelu_tanh),
            norms=Norms(
                attn_in=layer.layer_norm("input_layernorm", d_model, eps),
                mlp_in=layer.layer_norm("post_attention_layernorm", d_model, eps),
            ),
        )

    table = t.stored("word_embeddings.weight", config.size("vocab_size"), d_model)
    return Model(
        embed=Embedding(table),
        embed_norms={"decoder": t.layer_norm("word_embeddings_layernorm", d_model, eps)},
        stacks={
            "decoder": Stack(
                blocks=Blocks(n_layers, block),
                causal=True,
                alibi=n_heads,
                final_norm=t.layer_norm("ln_f", d_model, eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table),
    )
