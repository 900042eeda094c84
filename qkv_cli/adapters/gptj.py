"""GPT-J: one norm feeds attention and MLP at once; rotary pairs are adjacent."""

from __future__ import annotations

from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.rotary import Rotary, default


def gptj(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("transformer")
    tensors.pass_over("*.attn.bias", "*.attn.masked_bias", "*embed_positions")
    d_head, eps = config["n_embd"] // config["n_head"], config["layer_norm_epsilon"]
    frequencies = default(config.get("rotary_dim", 64), 10_000.0)
    rotary = Rotary(lambda n: frequencies, interleaved=True)
    act = config.activation("activation_function")
    config.one_of("rotary", (True,), True)
    config.one_of("scale_attn_weights", (True,), True)
    config.get("n_inner")
    config.get("n_positions")

    def block(layer: Tensors) -> Block:
        shared = layer.layer_norm("ln_1", eps)
        q, k, v, o = (layer.linear(f"attn.{name}_proj") for name in ("q", "k", "v", "out"))
        return Block(
            attn=Attention(q, k, v, o, d_head, d_head**-0.5, rotary=rotary),
            mlp=MLP(layer.linear("mlp.fc_in"), layer.linear("mlp.fc_out"), act),
            norms=Norms(attn_in=shared, mlp_in=shared),
            parallel=True,
        )

    table = t.stored("wte.weight")
    return Model(
        embed=Embedding(table),
        stacks={
            "decoder": Stack(
                blocks=Blocks(config["n_layer"], lambda i: block(t / f"h.{i}")),
                causal=True,
                final_norm=t.layer_norm("ln_f", eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table, tied=False),
    )
