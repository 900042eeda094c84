"""Mistral, and Mixtral with its experts."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import (
    gated_mlp,
    layer_kinds,
    layer_windows,
    pre_norms,
    read_size,
    rotary_decoder,
)
from qkv_cli.checkpoints.adapters.rope import read_rotary
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.layers import MLP, Experts
from qkv_cli.core.model import Model

MISTRAL_DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
}


def mistral(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(MISTRAL_DEFAULTS)
    size, eps, act = read_size(config), config.eps("rms_norm_eps"), config.activation("hidden_act")
    config.ignore(
        "use_sliding_window",
        "max_window_layers",
        reason="transformers' class gives every layer the window, if there is one",
    )
    window = config.optional_size("sliding_window")
    default_kind = "full_attention" if window is None else "sliding_attention"
    kinds = layer_kinds(
        config, [default_kind] * size.n_layers
    )  # with layer_types, it is a Ministral
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, n_max=131_072)] * size.n_layers,
        windows=layer_windows(config, kinds, window),
        norms=pre_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps),
        mlp=lambda layer: gated_mlp(layer, size, act),
    )


MIXTRAL_DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def mixtral(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(MIXTRAL_DEFAULTS, {"num_experts": "num_local_experts"})
    size, eps, act = read_size(config), config.eps("rms_norm_eps"), config.activation("hidden_act")
    n_experts = config.size("num_local_experts", maximum=1 << 12)
    n_chosen = config.size("num_experts_per_tok", maximum=n_experts)
    config.ignore("router_aux_loss_coef", "router_jitter_noise", reason="training")
    config.ignore("layer_types", reason="transformers' class gives every layer the window")

    def experts(layer: Tensors) -> Experts:
        moe = layer / "block_sparse_moe"

        def make(i: int) -> MLP:
            widths = {1: (size.d_model, size.d_mlp), 2: (size.d_mlp, size.d_model)}
            gate, down, up = (
                moe.linear(f"experts.{i}.w{n}", *widths.get(n, widths[1]), has_bias=False)
                for n in (1, 2, 3)
            )
            return MLP(up, down, act, gate=gate)

        router = moe.linear("gate", size.d_model, n_experts, has_bias=False)
        return Experts(router, make, n_chosen)

    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, theta=1_000_000.0, n_max=131_072)]
        * size.n_layers,
        windows=[config.optional_size("sliding_window")] * size.n_layers,
        norms=pre_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps),
        mlp=experts,
    )
