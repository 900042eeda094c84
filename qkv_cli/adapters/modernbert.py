"""ModernBERT: rotary positions, gated MLPs, no norm before the first attention, and only every
third layer looks further than a few dozen tokens.
"""

from __future__ import annotations

from qkv_cli.adapters.decoder import layer_kinds
from qkv_cli.adapters.rope import rotary_of
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors, split_linear
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.rotary import Rotary

_LOCAL, _GLOBAL = "sliding_attention", "full_attention"
# Of training and of how the same numbers are computed.
_UNUSED = (
    "decoder_bias",
    "deterministic_flash_attn",
    "initializer_cutoff_factor",
    "layer_norm_eps",
    "position_embedding_type",
    "reference_compile",
    "repad_logits_with_grad",
    "sparse_pred_ignore_index",
    "sparse_prediction",
)


def modernbert(config: Config, tensors: Tensors) -> Model:
    tensors.pass_over("head.*", "decoder.*", "*rotary_emb.*")
    t = tensors.inner("model")
    for name in (*_UNUSED, "norm_bias", "intermediate_size"):
        config.get(name)
    d_model, n_layers, eps = config["hidden_size"], config["num_hidden_layers"], config["norm_eps"]
    d_head = d_model // config["num_attention_heads"]
    act = config.activation("hidden_activation", "gelu")
    every = config.get("global_attn_every_n_layers", 3)
    kinds = layer_kinds(config, [_LOCAL if i % every else _GLOBAL for i in range(n_layers)])
    rotary = {kind: _rotary(config, kind, d_head) for kind in (_LOCAL, _GLOBAL)}
    reach = config.get("local_attention", 128) // 2

    def block(i: int) -> Block:
        layer = t / f"layers.{i}"
        q, k, v = split_linear(layer.linear("attn.Wqkv"), [d_model] * 3)
        hidden = layer.linear("mlp.Wi")
        gate, up = split_linear(hidden, [hidden.W.shape[1] // 2] * 2)
        return Block(
            attn=Attention(
                q, k, v, layer.linear("attn.Wo"), d_head, d_head**-0.5, rotary=rotary[kinds[i]]
            ),
            mlp=MLP(up, layer.linear("mlp.Wo"), act, gate),
            norms=Norms(
                attn_in=layer.layer_norm("attn_norm", eps) if i else None,
                mlp_in=layer.layer_norm("mlp_norm", eps),
            ),
            window=reach if kinds[i] == _LOCAL else None,
        )

    return Model(
        embed=Embedding(t.stored("embeddings.tok_embeddings.weight")),
        embed_norms={"encoder": t.layer_norm("embeddings.norm", eps)},
        stacks={
            "encoder": Stack(Blocks(n_layers, block), final_norm=t.layer_norm("final_norm", eps))
        },
    )


def _rotary(config: Config, kind: str, d_head: int) -> Rotary:
    """How queries and keys of one kind of layer are turned, in the old spelling or the new."""
    wide = config.get("global_rope_theta", 160_000.0)
    # An old config's null means: as in the other layers.
    near = config.get("local_rope_theta", wide if "local_rope_theta" in config.values else 10_000.0)
    settings = {"rope_theta": near if kind == _LOCAL else wide, **config.get("rope_scaling", {})}
    settings |= config.get("rope_parameters", {}).get(kind) or {}
    settings["partial_rotary_factor"] = 1.0  # whatever it says: all of a head is turned
    return rotary_of(settings, config.get("max_position_embeddings", 8192), d_head, 1.0, config)
