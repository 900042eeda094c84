"""GPT-NeoX, including Pythia."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.rope import rope_settings, rotary_of
from qkv_cli.checkpoints.adapters.vocabulary import decoder_unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors, split_interleaved
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import Rotary

DEFAULTS = {
    "vocab_size": 50432,
    "hidden_size": 6144,
    "num_hidden_layers": 44,
    "num_attention_heads": 64,
    "intermediate_size": 24576,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "use_parallel_residual": True,
    "attention_bias": True,
    "tie_word_embeddings": False,
}


def gpt_neox(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults(DEFAULTS), tensors.inner("gpt_neox")
    tensors.skip("*.attention.bias", "*.masked_bias", "*rotary_emb.inv_freq")
    d_model, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    d_mlp, eps = config.size("intermediate_size"), config.eps("layer_norm_eps")
    d_head, n_layers = head_width(config, d_model, n_heads), config.n_layers("num_hidden_layers")
    d_query = n_heads * d_head
    config.one_of("head_dim", (None, d_head), None)
    rotary = _rotary(config, d_head)
    act, is_parallel = config.activation("hidden_act"), config.flag("use_parallel_residual")
    has_bias = config.flag("attention_bias")
    config.ignore("is_decoder", reason="the family is always a decoder")
    t.require_layer(f"layers.{n_layers - 1}", n_layers)

    def block(i: int) -> Block:
        layer = t / f"layers.{i}"
        fused = layer.linear("attention.query_key_value", d_model, 3 * d_query, has_bias=has_bias)
        q, k, v = split_interleaved(fused, n_heads)
        o = layer.linear("attention.dense", d_query, d_model, has_bias=has_bias)
        up = layer.linear("mlp.dense_h_to_4h", d_model, d_mlp)
        return Block(
            attn=Attention(q=q, k=k, v=v, o=o, d_head=d_head, scale=d_head**-0.5, rotary=rotary),
            mlp=MLP(up, layer.linear("mlp.dense_4h_to_h", d_mlp, d_model), act),
            norms=Norms(
                attn_in=layer.layer_norm("input_layernorm", d_model, eps),
                mlp_in=layer.layer_norm("post_attention_layernorm", d_model, eps),
            ),
            parallel=is_parallel,
        )

    table = t.stored("embed_in.weight", config.size("vocab_size"), d_model)
    head = "embed_out" if "embed_out.weight" in tensors else "lm_head"  # its old and its new name
    return Model(
        embed=Embedding(table),
        stacks={
            "decoder": Stack(
                blocks=Blocks(n_layers, block),
                causal=True,
                final_norm=t.layer_norm("final_layer_norm", d_model, eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table, head=head),
    )


def _rotary(config: Config, d_head: int) -> Rotary:
    settings = rope_settings(config)
    settings.setdefault("rope_theta", config.get("rotary_emb_base", 10_000.0))
    settings.setdefault("partial_rotary_factor", config.get("rotary_pct", 0.25))
    config.ignore(
        "rope_theta", "partial_rotary_factor", reason="the family has other names for them"
    )
    n_original = config.optional_size("original_max_position_embeddings")
    return rotary_of(config, settings, d_head, 2048, share=0.25, n_original=n_original)
