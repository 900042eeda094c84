"""Falcon: attention and MLP in parallel, with one norm or two; fused projections."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.rope import read_rotary
from qkv_cli.checkpoints.adapters.vocabulary import decoder_unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors, split_interleaved
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack

DEFAULTS = {
    "vocab_size": 65024,
    "hidden_size": 4544,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "layer_norm_epsilon": 1e-5,
    "alibi": False,
    "new_decoder_architecture": False,
    "multi_query": True,
    "parallel_attn": True,
    "bias": False,
    "activation": "gelu",
    "tie_word_embeddings": True,
}


def falcon(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults(DEFAULTS), tensors.inner("transformer")
    tensors.skip("*rotary_emb.inv_freq")
    n_heads, eps = config.size("num_attention_heads"), config.eps("layer_norm_epsilon")
    d_model = config.optional_size("n_embed") or config.size("hidden_size")
    config.ignore("hidden_size", reason="n_embed takes precedence")
    d_mlp = config.optional_size("ffn_hidden_size") or 4 * d_model
    d_head, n_layers = head_width(config, d_model, n_heads), config.n_layers("num_hidden_layers")
    config.one_of(
        "head_dim", (None,), None
    )  # transformers' class derives it, and accepts no other value
    # transformers' eager attention adds ALiBi twice, its default attention once.
    config.one_of("alibi", (False,))
    is_new = config.flag("new_decoder_architecture")
    is_parallel = config.one_of("parallel_attn", (True,) if is_new else (True, False))
    n_norms = config.one_of(
        "num_ln_in_parallel_attn", (None, 1, 2) if is_new else (None, 1), 2 if is_new else 1
    )
    has_two_norms = is_new and n_norms != 1
    n_kv_heads = _n_kv_heads(config, n_heads, is_new=is_new)
    act, rotary = config.activation("activation"), read_rotary(config, d_head)
    config.one_of("apply_residual_connection_post_layernorm", (False,), False)
    config.ignore("ff_factor", reason="ffn_hidden_size has the same value")
    has_bias = config.flag("bias")
    t.require_layer(f"h.{n_layers - 1}", n_layers)

    def norms(layer: Tensors) -> Norms:
        if has_two_norms:
            attn_in, mlp_in = (
                layer.layer_norm(name, d_model, eps) for name in ("ln_attn", "ln_mlp")
            )
            return Norms(attn_in=attn_in, mlp_in=mlp_in)
        input_norm = layer.layer_norm("input_layernorm", d_model, eps)
        if is_parallel:
            return Norms(attn_in=input_norm, mlp_in=input_norm)
        mlp_in = layer.layer_norm("post_attention_layernorm", d_model, eps)
        return Norms(attn_in=input_norm, mlp_in=mlp_in)

    def block(i: int) -> Block:
        layer, d_query, width = t / f"h.{i}", n_heads * d_head, (n_heads + 2 * n_kv_heads) * d_head
        fused = layer.linear("self_attention.query_key_value", d_model, width, has_bias=has_bias)
        q, k, v = split_interleaved(fused, n_kv_heads, n_heads // n_kv_heads)
        o = layer.linear("self_attention.dense", d_query, d_model, has_bias=has_bias)
        up = layer.linear("mlp.dense_h_to_4h", d_model, d_mlp, has_bias=has_bias)
        down = layer.linear("mlp.dense_4h_to_h", d_mlp, d_model, has_bias=has_bias)
        return Block(
            attn=Attention(q=q, k=k, v=v, o=o, d_head=d_head, scale=d_head**-0.5, rotary=rotary),
            mlp=MLP(up, down, act),
            norms=norms(layer),
            parallel=is_parallel,
        )

    table = t.stored("word_embeddings.weight", config.size("vocab_size"), d_model)
    return Model(
        embed=Embedding(table),
        stacks={
            "decoder": Stack(
                blocks=Blocks(n_layers, block),
                causal=True,
                final_norm=t.layer_norm("ln_f", d_model, eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table),
    )


def _n_kv_heads(config: Config, n_heads: int, *, is_new: bool) -> int:
    has_one_key, n = config.flag("multi_query"), config.optional_size("num_kv_heads") or n_heads
    if not is_new:
        return 1 if has_one_key else n_heads
    if n_heads % n:
        raise config.invalid_value("num_kv_heads", f"a divisor of the number of heads ({n_heads})")
    return n
