"""GPT-J: attention and MLP in parallel with one norm; adjacent rotary pairs."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.gpt2 import ALIASES
from qkv_cli.checkpoints.adapters.vocabulary import decoder_unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import Rotary, rope_frequencies

DEFAULTS = {
    "vocab_size": 50400,
    "n_positions": 2048,
    "n_embd": 4096,
    "n_layer": 28,
    "n_head": 16,
    "rotary_dim": 64,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": False,
}


def gptj(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults(DEFAULTS, ALIASES), tensors.inner("transformer")
    tensors.skip("*.attn.bias", "*.attn.masked_bias", "*embed_positions")
    d_model, n_heads = config.size("n_embd"), config.size("n_head")
    d_head, d_mlp = head_width(config, d_model, n_heads), config.optional_size("n_inner")
    d_mlp, eps = d_mlp or 4 * d_model, config.eps("layer_norm_epsilon")
    d_rotary = config.size("rotary_dim", maximum=d_head)
    if d_rotary % 2:
        raise config.invalid_value("rotary_dim", "an even number")
    frequencies = rope_frequencies(d_rotary, 10_000.0)
    rotary = Rotary(lambda n: frequencies, interleaved=True)
    act, n_layers = config.activation("activation_function"), config.n_layers("n_layer")
    config.one_of("rotary", (True,), True)
    config.one_of("scale_attn_weights", (True,), True)
    config.size("n_positions")  # positions are computed, for texts of any length
    config.ignore("n_ctx", reason="n_positions has the same value")
    t.require_layer(f"h.{n_layers - 1}", n_layers)

    def block(i: int) -> Block:
        layer, d_query = t / f"h.{i}", n_heads * d_head
        shared = layer.layer_norm("ln_1", d_model, eps)
        q, k, v = (
            layer.linear(f"attn.{name}_proj", d_model, d_query, has_bias=False) for name in "qkv"
        )
        o = layer.linear("attn.out_proj", d_query, d_model, has_bias=False)
        up = layer.linear("mlp.fc_in", d_model, d_mlp)
        return Block(
            attn=Attention(q=q, k=k, v=v, o=o, d_head=d_head, scale=d_head**-0.5, rotary=rotary),
            mlp=MLP(up, layer.linear("mlp.fc_out", d_mlp, d_model), act),
            norms=Norms(attn_in=shared, mlp_in=shared),
            parallel=True,
        )

    table = t.stored("wte.weight", config.size("vocab_size"), d_model)
    return Model(
        embed=Embedding(table),
        stacks={
            "decoder": Stack(
                blocks=Blocks(n_layers, block),
                causal=True,
                final_norm=t.layer_norm("ln_f", d_model, eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table, has_bias=True),
    )
