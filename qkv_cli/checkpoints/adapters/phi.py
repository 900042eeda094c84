"""Phi (1, 1.5, 2) and Phi-3."""

from __future__ import annotations

from qkv_cli.checkpoints.adapters.decoder import head_width, pre_norms, read_size, rotary_decoder
from qkv_cli.checkpoints.adapters.rope import read_rotary, rope_settings, rotary_of
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors, split_linear
from qkv_cli.core.block import Norms
from qkv_cli.core.layers import MLP, Linear
from qkv_cli.core.model import Model
from qkv_cli.core.positions import Rotary

PHI_DEFAULTS = {
    "vocab_size": 51200,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-5,
    "qk_layernorm": False,
    "tie_word_embeddings": False,
}


def phi(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(PHI_DEFAULTS)
    size, eps, act = (
        read_size(config),
        config.eps("layer_norm_eps"),
        config.activation("hidden_act"),
    )
    norm_width = head_width(config, size.d_model, size.n_heads)

    def norms(layer: Tensors) -> Norms:
        shared = layer.layer_norm("input_layernorm", size.d_model, eps)
        return Norms(attn_in=shared, mlp_in=shared)

    def mlp(layer: Tensors) -> MLP:
        up = layer.linear("mlp.fc1", size.d_model, size.d_mlp)
        return MLP(up, layer.linear("mlp.fc2", size.d_mlp, size.d_model), act)

    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, share=0.5)] * size.n_layers,
        norms=norms,
        final_norm=lambda t: t.layer_norm("final_layernorm", size.d_model, eps),
        mlp=mlp,
        qkv_bias=True,
        o="dense",
        o_bias=True,
        head_norm=(lambda attn, name: attn.layer_norm(f"{name}_layernorm", norm_width, eps))
        if config.flag("qk_layernorm")
        else None,
        is_parallel=True,
        logit_bias=True,
    )


PHI3_DEFAULTS = {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_OLD_NAMES = ("su", "yarn")  # of LongRoPE


def phi3(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(PHI3_DEFAULTS)
    size, eps, act = read_size(config), config.eps("rms_norm_eps"), config.activation("hidden_act")
    config.ignore(
        "full_attn_mod",
        "interpolate_factor",
        "lm_head_bias",
        reason="read only by the publisher's own code",
    )

    def qkv(attn: Tensors) -> list[Linear]:
        widths = [size.d_query, size.d_key, size.d_key]
        fused = attn.linear("qkv_proj", size.d_model, sum(widths), has_bias=False)
        return split_linear(fused, widths)

    def mlp(layer: Tensors) -> MLP:
        fused = layer.linear("mlp.gate_up_proj", size.d_model, 2 * size.d_mlp, has_bias=False)
        gate, up = split_linear(fused, [size.d_mlp] * 2)
        down = layer.linear("mlp.down_proj", size.d_mlp, size.d_model, has_bias=False)
        return MLP(up, down, act, gate=gate)

    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[_rotary(config, size.d_head)] * size.n_layers,
        windows=[config.optional_size("sliding_window")] * size.n_layers,
        norms=pre_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps),
        mlp=mlp,
        qkv=qkv,
    )


def _rotary(config: Config, d_head: int) -> Rotary:
    settings = rope_settings(config)
    settings.setdefault("rope_theta", config.get("rope_theta", 10_000.0))
    settings.setdefault("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind in _OLD_NAMES:
        settings["rope_type"] = "longrope"
    config.part("rope_parameters", {"rope_type": kind}).one_of(
        "rope_type", ("default", "longrope", *_OLD_NAMES)
    )
    n_original = config.size("original_max_position_embeddings")
    return rotary_of(config, settings, d_head, 4096, share=1.0, n_original=n_original)
