"""GPT-Neo: GPT-2's shape, scores that are not scaled, and a window in every other layer."""

from __future__ import annotations

from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding, Places
from qkv_cli.core.model import Model, Stack
from qkv_cli.errors import CheckpointError


def gpt_neo(config: Config, tensors: Tensors) -> Model:
    t = tensors.inner("transformer")
    tensors.pass_over("*.attention.bias", "*.attention.masked_bias")
    d_head, eps = config["hidden_size"] // config["num_heads"], config["layer_norm_epsilon"]
    act = config.activation("activation_function", "gelu_new")
    windows, n_layers = _windows(config), config["num_layers"]
    if len(windows) != n_layers:
        raise CheckpointError(f"config.json has attention_types for {len(windows)} layers.")
    for said_by_tensors in ("intermediate_size", "max_position_embeddings"):
        config.get(said_by_tensors)

    def block(i: int) -> Block:
        layer = t / f"h.{i}"
        attn = layer / "attn.attention"
        q, k, v, o = (attn.linear(f"{name}_proj") for name in ("q", "k", "v", "out"))
        return Block(
            attn=Attention(q, k, v, o, d_head, scale=1.0),
            mlp=MLP(layer.linear("mlp.c_fc"), layer.linear("mlp.c_proj"), act),
            norms=Norms(layer.layer_norm("ln_1", eps), mlp_in=layer.layer_norm("ln_2", eps)),
            window=windows[i],
        )

    table = t.stored("wte.weight")
    return Model(
        embed=Embedding(table),
        places={"decoder": Places(t["wpe.weight"])},
        stacks={
            "decoder": Stack(
                blocks=Blocks(n_layers, block),
                causal=True,
                final_norm=t.layer_norm("ln_f", eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table, tied=True),
    )


def _windows(config: Config) -> list[int | None]:
    """Of each layer, from pairs of a pattern and how often it is repeated."""
    reach = {"global": None, "local": config.get("window_size", 256)}
    config.get("attention_layers")  # the same, written out
    pairs = config.get("attention_types", [[["global", "local"], 12]])
    kinds = [kind for pattern, times in pairs for kind in pattern * times]
    if unknown := sorted(set(kinds) - set(reach)):
        raise CheckpointError(f"config.json has a layer of {unknown[0]!r}: not implemented.")
    return [reach[kind] for kind in kinds]
