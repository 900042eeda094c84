"""ModernBERT: rotary positions, gated MLPs, no norm before the first attention, and local
attention except in every third layer.
"""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width, layer_kinds
from qkv_cli.checkpoints.adapters.rope import nested_rope_settings, rotary_of
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors, split_linear
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import Rotary

_LOCAL, _GLOBAL = "sliding_attention", "full_attention"
DEFAULTS = {
    "vocab_size": 50368,
    "hidden_size": 768,
    "intermediate_size": 1152,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "hidden_activation": "gelu",
    "norm_eps": 1e-5,
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "local_attention": 128,
}


def modernbert(config: Config, tensors: Tensors) -> Model:
    tensors.skip("head.*", "decoder.*", "*rotary_emb.*")
    config, t = config.with_defaults(DEFAULTS), tensors.inner("model")
    _ignore(config)
    d_model, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    d_mlp, d_head = config.size("intermediate_size"), head_width(config, d_model, n_heads)
    config.one_of("head_dim", (None, d_head), None)
    eps, norm_bias = config.eps("norm_eps"), config.flag("norm_bias")
    attn_bias, mlp_bias = config.flag("attention_bias"), config.flag("mlp_bias")
    n_layers, act = config.n_layers("num_hidden_layers"), config.activation("hidden_activation")
    t.require_layer(f"layers.{n_layers - 1}", n_layers)
    global_interval = config.size("global_attn_every_n_layers", 3)
    kinds = layer_kinds(
        config, [_LOCAL if i % global_interval else _GLOBAL for i in range(n_layers)]
    )
    rotaries = _rotaries(config, d_head)
    # The window in both directions; transformers' class stores half of it under another name.
    reach = config.optional_size("sliding_window") or config.size("local_attention") // 2

    def block(i: int) -> Block:
        layer, d_query = t / f"layers.{i}", n_heads * d_head
        fused = layer.linear("attn.Wqkv", d_model, 3 * d_query, has_bias=attn_bias)
        q, k, v = split_linear(fused, [d_query] * 3)
        o = layer.linear("attn.Wo", d_query, d_model, has_bias=attn_bias)
        hidden = layer.linear("mlp.Wi", d_model, 2 * d_mlp, has_bias=mlp_bias)
        gate, up = split_linear(hidden, [d_mlp] * 2)
        down = layer.linear("mlp.Wo", d_mlp, d_model, has_bias=mlp_bias)
        return Block(
            attn=Attention(
                q=q, k=k, v=v, o=o, d_head=d_head, scale=d_head**-0.5, rotary=rotaries[kinds[i]]
            ),
            mlp=MLP(up=up, down=down, act=act, gate=gate),
            norms=Norms(
                attn_in=(
                    layer.layer_norm("attn_norm", d_model, eps, has_bias=norm_bias) if i else None
                ),
                mlp_in=layer.layer_norm("mlp_norm", d_model, eps, has_bias=norm_bias),
            ),
            window=reach if kinds[i] == _LOCAL else None,
        )

    table = t.stored("embeddings.tok_embeddings.weight", config.size("vocab_size"), d_model)
    embed_norm, final_norm = (
        t.layer_norm(name, d_model, eps, has_bias=norm_bias)
        for name in ("embeddings.norm", "final_norm")
    )
    return Model(
        embed=Embedding(table),
        embed_norms={"encoder": embed_norm},
        stacks={"encoder": Stack(Blocks(n_layers, block), final_norm=final_norm)},
    )


def _ignore(config: Config) -> None:
    config.ignore(
        "decoder_bias",
        "tie_word_embeddings",
        "initializer_cutoff_factor",
        "sparse_pred_ignore_index",
        "sparse_prediction",
        reason="training, and the masked-language-model head",
    )
    config.ignore(
        "deterministic_flash_attn",
        "reference_compile",
        "repad_logits_with_grad",
        reason="how the same numbers are computed",
    )
    config.ignore("layer_norm_eps", reason="the class reads norm_eps")
    config.ignore("position_embedding_type", reason="the family has rotary positions")


def _rotaries(config: Config, d_head: int) -> dict[str, Rotary]:
    """Return the rotary embedding of each type of layer, from old or new settings."""
    settings = nested_rope_settings(config, scaled=(_GLOBAL, _LOCAL))
    global_theta = config.get("global_rope_theta", 160_000.0)
    local_theta = config.get("local_rope_theta", 10_000.0)
    # In old configs, null means the same as in the other layers.
    thetas = {_GLOBAL: global_theta, _LOCAL: global_theta if local_theta is None else local_theta}
    return {
        kind: rotary_of(config, {"rope_theta": theta, **settings[kind]}, d_head, 8192)
        for kind, theta in thetas.items()
    }
