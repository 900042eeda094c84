"""OPT: like GPT-2, with ReLU, separate projections and two unused position rows."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.vocabulary import decoder_unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding, Norm, PositionEmbeddings
from qkv_cli.core.model import Model, Stack

_EPS = 1e-5  # in the code, not in the config
DEFAULTS = {
    "vocab_size": 50272,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "ffn_dim": 3072,
    "max_position_embeddings": 2048,
    "do_layer_norm_before": True,
    "_remove_final_layer_norm": False,
    "num_attention_heads": 12,
    "activation_function": "relu",
    "enable_bias": True,
    "layer_norm_elementwise_affine": True,
    "tie_word_embeddings": True,
}


def opt(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults(DEFAULTS), tensors.inner("model") / "decoder"
    d_model, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    d_mlp, d_head = config.size("ffn_dim"), head_width(config, d_model, n_heads)
    d_query, n_layers = n_heads * d_head, config.n_layers("num_hidden_layers")
    # opt-350m has norms after the sub-layers and narrower embeddings.
    is_pre_norm, has_bias = config.flag("do_layer_norm_before"), config.flag("enable_bias")
    has_final_norm = not config.flag("_remove_final_layer_norm") and is_pre_norm
    d_embed = config.optional_size("word_embed_proj_dim") or d_model
    is_affine = config.flag("layer_norm_elementwise_affine")
    config.one_of("learned_embeddings", (True,), True)
    config.one_of("scale_embeddings", (False,), False)
    act = config.activation("activation_function")
    t.require_layer(f"layers.{n_layers - 1}", n_layers)

    def norm(t: Tensors, name: str) -> Norm:
        return (
            t.layer_norm(name, d_model, _EPS)
            if is_affine
            else Norm(w=None, b=None, eps=_EPS, centred=True)
        )

    def norms(layer: Tensors) -> Norms:
        attn_norm, mlp_norm = norm(layer, "self_attn_layer_norm"), norm(layer, "final_layer_norm")
        if is_pre_norm:
            return Norms(attn_in=attn_norm, mlp_in=mlp_norm)
        return Norms(resid_mid=attn_norm, resid_post=mlp_norm)

    def block(i: int) -> Block:
        layer = t / f"layers.{i}"
        attn = layer / "self_attn"
        q, k, v = (attn.linear(f"{n}_proj", d_model, d_query, has_bias=has_bias) for n in "qkv")
        o = attn.linear("out_proj", d_query, d_model, has_bias=has_bias)
        up = layer.linear("fc1", d_model, d_mlp, has_bias=has_bias)
        down = layer.linear("fc2", d_mlp, d_model, has_bias=has_bias)
        return Block(
            attn=Attention(q=q, k=k, v=v, o=o, d_head=d_head, scale=d_head**-0.5),
            mlp=MLP(up, down, act),
            norms=norms(layer),
        )

    table = t.stored("embed_tokens.weight", config.size("vocab_size"), d_embed)
    project_in = project_out = None
    if d_embed != d_model:
        project_in = t.linear("project_in", d_embed, d_model, has_bias=False)
        project_out = t.linear("project_out", d_model, d_embed, has_bias=False)
    n_positions = config.size("max_position_embeddings")
    return Model(
        embed=Embedding(table, project=project_in),
        positions={
            "decoder": PositionEmbeddings(
                t.array("embed_positions.weight", n_positions + 2, d_model)[2:]
            )
        },
        stacks={
            "decoder": Stack(
                blocks=Blocks(n_layers, block),
                causal=True,
                final_norm=norm(t, "final_layer_norm") if has_final_norm else None,
            )
        },
        unembed=decoder_unembedding(config, tensors, table, project=project_out),
    )
