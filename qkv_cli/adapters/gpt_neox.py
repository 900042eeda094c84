"""GPT-NeoX, and so Pythia."""

from __future__ import annotations

from qkv_cli.adapters.rope import rotary_of
from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors, split_interleaved
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack


def gpt_neox(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("gpt_neox")
    tensors.pass_over("*.attention.bias", "*.masked_bias", "*rotary_emb.inv_freq")
    n_heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    d_head = config["hidden_size"] // n_heads
    settings = {
        "rope_theta": config.get("rotary_emb_base", 10_000),
        "partial_rotary_factor": config.get("rotary_pct", 0.25),
        **config.get("rope_scaling", {}),
        **config.get("rope_parameters", {}),
    }
    rotary = rotary_of(settings, config["max_position_embeddings"], d_head, 0.25, config)
    act, parallel = config.activation("hidden_act"), config.get("use_parallel_residual", True)
    config.get("intermediate_size")
    config.get("is_decoder")  # it is one, whatever the config says

    def block(layer: Tensors) -> Block:
        q, k, v = split_interleaved(layer.linear("attention.query_key_value"), n_heads)
        o = layer.linear("attention.dense")
        return Block(
            attn=Attention(q, k, v, o, d_head, d_head**-0.5, rotary=rotary),
            mlp=MLP(layer.linear("mlp.dense_h_to_4h"), layer.linear("mlp.dense_4h_to_h"), act),
            norms=Norms(
                attn_in=layer.layer_norm("input_layernorm", eps),
                mlp_in=layer.layer_norm("post_attention_layernorm", eps),
            ),
            parallel=parallel,
        )

    table = t.stored("embed_in.weight")
    head = "embed_out" if "embed_out.weight" in tensors else "lm_head"  # its old name, and its new
    return Model(
        embed=Embedding(table),
        stacks={
            "decoder": Stack(
                blocks=Blocks(config["num_hidden_layers"], lambda i: block(t / f"layers.{i}")),
                causal=True,
                final_norm=t.layer_norm("final_layer_norm", eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table, tied=False, head=head),
    )
