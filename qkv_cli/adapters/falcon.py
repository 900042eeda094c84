"""Falcon: one norm or two feed attention and MLP at once; queries and their key are fused."""

from __future__ import annotations

from qkv_cli.adapters.rope import read_rotary
from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors, split_interleaved
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack


def falcon(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("transformer")
    tensors.pass_over("*rotary_emb.inv_freq")
    n_heads, eps = config["num_attention_heads"], config["layer_norm_epsilon"]
    d_head = config["hidden_size"] // n_heads
    # transformers' eager attention adds ALiBi twice, its default once.
    config.one_of("alibi", (False,), False)
    new = config.get("new_decoder_architecture", False)
    parallel = config.one_of("parallel_attn", (True,) if new else (True, False), True)
    n_norms = config.one_of("num_ln_in_parallel_attn", (1, 2) if new else (1,), 2 if new else 1)
    n_kv_heads = config.get("num_kv_heads", n_heads)
    if not new:
        n_kv_heads = 1 if config.get("multi_query", True) else n_heads
    act, rotary = config.activation("activation", "gelu"), read_rotary(config, d_head)
    config.one_of("apply_residual_connection_post_layernorm", (False,), False)
    for said_by_tensors in ("bias", "ff_factor", "ffn_hidden_size", "multi_query"):
        config.get(said_by_tensors)

    def norms(layer: Tensors) -> Norms:
        if parallel and n_norms == 2:
            return Norms(layer.layer_norm("ln_attn", eps), mlp_in=layer.layer_norm("ln_mlp", eps))
        first = layer.layer_norm("input_layernorm", eps)
        if parallel:
            return Norms(first, mlp_in=first)
        return Norms(first, mlp_in=layer.layer_norm("post_attention_layernorm", eps))

    def block(layer: Tensors) -> Block:
        fused = layer.linear("self_attention.query_key_value")
        q, k, v = split_interleaved(fused, n_kv_heads, n_heads // n_kv_heads)
        o = layer.linear("self_attention.dense")
        return Block(
            attn=Attention(q, k, v, o, d_head, d_head**-0.5, rotary=rotary),
            mlp=MLP(layer.linear("mlp.dense_h_to_4h"), layer.linear("mlp.dense_4h_to_h"), act),
            norms=norms(layer),
            parallel=parallel,
        )

    table = t.stored("word_embeddings.weight")
    return Model(
        embed=Embedding(table),
        stacks={
            "decoder": Stack(
                blocks=Blocks(config["num_hidden_layers"], lambda i: block(t / f"h.{i}")),
                causal=True,
                final_norm=t.layer_norm("ln_f", eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table, tied=True),
    )
