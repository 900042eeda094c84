"""GPT-2, DistilGPT-2, DialoGPT."""

from __future__ import annotations

from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors, split_linear
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding, Places
from qkv_cli.core.model import Model, Stack


def gpt2(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("transformer")
    tensors.pass_over("*.attn.bias", "*.attn.masked_bias")
    d_model, eps = config["n_embd"], config["layer_norm_epsilon"]
    d_head = d_model // config["n_head"]
    scale = d_head**-0.5 if config.get("scale_attn_weights", True) else 1.0
    by_layer = config.get("scale_attn_by_inverse_layer_idx", False)
    config.get("reorder_and_upcast_attn")  # the same numbers, in float32 throughout
    config.one_of("add_cross_attention", (False,), False)
    act = config.activation("activation_function")
    config.get("n_inner")
    config.get("n_positions")

    def block(i: int) -> Block:
        layer = t / f"h.{i}"
        # c_attn is query, key and value side by side, [d_model, 3 * d_model].
        q, k, v = split_linear(layer.conv1d("attn.c_attn"), [d_model] * 3)
        o = layer.conv1d("attn.c_proj")
        return Block(
            attn=Attention(q, k, v, o, d_head, scale / (i + 1) if by_layer else scale),
            mlp=MLP(layer.conv1d("mlp.c_fc"), layer.conv1d("mlp.c_proj"), act),
            norms=Norms(
                attn_in=layer.layer_norm("ln_1", eps), mlp_in=layer.layer_norm("ln_2", eps)
            ),
        )

    table = t.stored("wte.weight")
    return Model(
        embed=Embedding(table),
        places={"decoder": Places(t["wpe.weight"])},
        stacks={
            "decoder": Stack(
                blocks=Blocks(config["n_layer"], block),
                causal=True,
                final_norm=t.layer_norm("ln_f", eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table, tied=True),
    )
