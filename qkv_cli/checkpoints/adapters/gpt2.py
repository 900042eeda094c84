"""GPT-2, DistilGPT-2, DialoGPT."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.vocabulary import decoder_unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors, split_linear
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding, PositionEmbeddings
from qkv_cli.core.model import Model, Stack

DEFAULTS = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "tie_word_embeddings": True,
}
ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}


def gpt2(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults(DEFAULTS, ALIASES), tensors.inner("transformer")
    tensors.skip("*.attn.bias", "*.attn.masked_bias")
    d_model, n_heads = config.size("n_embd"), config.size("n_head")
    d_mlp = config.optional_size("n_inner") or 4 * d_model
    d_head, n_layers = head_width(config, d_model, n_heads), config.n_layers("n_layer")
    eps, act = config.eps("layer_norm_epsilon"), config.activation("activation_function")
    scale = d_head**-0.5 if config.flag("scale_attn_weights") else 1.0
    by_layer = config.flag("scale_attn_by_inverse_layer_idx")
    config.ignore("reorder_and_upcast_attn", reason="qkv computes in float32 throughout")
    config.ignore("n_ctx", reason="n_positions has the same value")
    config.one_of("add_cross_attention", (False,), False)
    d_query = n_heads * d_head
    t.require_layer(f"h.{n_layers - 1}", n_layers)

    def block(i: int) -> Block:
        layer = t / f"h.{i}"
        # c_attn is the fused projection of q, k and v, [d_model, 3 * d_query].
        q, k, v = split_linear(layer.conv1d("attn.c_attn", d_model, 3 * d_query), [d_query] * 3)
        o = layer.conv1d("attn.c_proj", d_query, d_model)
        up = layer.conv1d("mlp.c_fc", d_model, d_mlp)
        return Block(
            attn=Attention(
                q=q, k=k, v=v, o=o, d_head=d_head, scale=scale / (i + 1) if by_layer else scale
            ),
            mlp=MLP(up, layer.conv1d("mlp.c_proj", d_mlp, d_model), act),
            norms=Norms(
                attn_in=layer.layer_norm("ln_1", d_model, eps),
                mlp_in=layer.layer_norm("ln_2", d_model, eps),
            ),
        )

    table = t.stored("wte.weight", config.size("vocab_size"), d_model)
    return Model(
        embed=Embedding(table),
        positions={
            "decoder": PositionEmbeddings(
                t.array("wpe.weight", config.size("n_positions"), d_model)
            )
        },
        stacks={
            "decoder": Stack(
                blocks=Blocks(n_layers, block),
                causal=True,
                final_norm=t.layer_norm("ln_f", d_model, eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table),
    )
