"""GPT-Neo: like GPT-2, with unscaled scores and a window in every other layer."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.vocabulary import decoder_unembedding
from qkv_cli.checkpoints.config import MAX_LAYERS, Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding, PositionEmbeddings
from qkv_cli.core.model import Model, Stack
from qkv_cli.errors import CheckpointError

DEFAULTS = {
    "vocab_size": 50257,
    "max_position_embeddings": 2048,
    "hidden_size": 2048,
    "num_layers": 24,
    "num_heads": 16,
    "window_size": 256,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}
ALIASES = {"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"}


def gpt_neo(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults(DEFAULTS, ALIASES), tensors.inner("transformer")
    tensors.skip("*.attention.bias", "*.attention.masked_bias")
    d_model, n_heads = config.size("hidden_size"), config.size("num_heads")
    d_head, d_mlp = head_width(config, d_model, n_heads), config.optional_size("intermediate_size")
    d_mlp = d_mlp or 4 * d_model
    eps, act = config.eps("layer_norm_epsilon"), config.activation("activation_function")
    n_layers = config.n_layers("num_layers")
    t.require_layer(f"h.{n_layers - 1}", n_layers)
    windows = _windows(config, n_layers)

    def block(i: int) -> Block:
        layer = t / f"h.{i}"
        attn = layer / "attn.attention"
        q, k, v = (
            attn.linear(f"{name}_proj", d_model, n_heads * d_head, has_bias=False) for name in "qkv"
        )
        o = attn.linear("out_proj", n_heads * d_head, d_model)
        up = layer.linear("mlp.c_fc", d_model, d_mlp)
        return Block(
            attn=Attention(q=q, k=k, v=v, o=o, d_head=d_head, scale=1.0),
            mlp=MLP(up, layer.linear("mlp.c_proj", d_mlp, d_model), act),
            norms=Norms(
                attn_in=layer.layer_norm("ln_1", d_model, eps),
                mlp_in=layer.layer_norm("ln_2", d_model, eps),
            ),
            window=windows[i],
        )

    table = t.stored("wte.weight", config.size("vocab_size"), d_model)
    n_positions = config.size("max_position_embeddings")
    return Model(
        embed=Embedding(table),
        positions={"decoder": PositionEmbeddings(t.array("wpe.weight", n_positions, d_model))},
        stacks={
            "decoder": Stack(
                blocks=Blocks(n_layers, block),
                causal=True,
                final_norm=t.layer_norm("ln_f", d_model, eps),
            )
        },
        unembed=decoder_unembedding(config, tensors, table),
    )


def _windows(config: Config, n_layers: int) -> list[int | None]:
    """Return the window of each layer, from `attention_layers` or from (pattern, count) pairs."""
    reach = {"global": None, "local": config.size("window_size")}
    kinds = config.optional_list("attention_layers")
    if kinds is None:
        kinds = _expand_attention_types(config)
    config.ignore("attention_types", reason="attention_layers takes precedence")
    if unknown := [kind for kind in kinds if kind not in ("global", "local")]:
        raise CheckpointError(
            f"config.json has a layer with attention {unknown[0]!r}, which is not implemented; "
            "implemented: 'global', 'local'."
        )
    if len(kinds) != n_layers:
        raise CheckpointError(
            f"config.json sets the type of attention for {len(kinds)} layers; expected "
            f"{n_layers} layers."
        )
    return [reach[kind] for kind in kinds]


def _expand_attention_types(config: Config) -> list[str]:
    pairs = config.optional_list("attention_types")
    pairs = [[["global", "local"], 12]] if pairs is None else pairs
    valid = f'pairs such as [["global", "local"], 12], for at most {MAX_LAYERS:,} layers'
    kinds: list[str] = []
    for pair in pairs:
        match pair:
            case [list(pattern), int(times)] if 0 <= times <= MAX_LAYERS:
                kinds += pattern * times
            case _:
                raise config.invalid_value("attention_types", valid)
        if len(kinds) > MAX_LAYERS:
            raise config.invalid_value("attention_types", valid)
    return kinds
