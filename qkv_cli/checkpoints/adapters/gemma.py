"""Gemma 1, 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qkv_cli.checkpoints.adapters.decoder import (
    Size,
    gated_mlp,
    gemma_norms,
    layer_kinds,
    layer_windows,
    pre_norms,
    read_size,
    rotary_decoder,
)
from qkv_cli.checkpoints.adapters.rope import nested_rope_settings, read_rotary, rotary_of
from qkv_cli.checkpoints.adapters.vocabulary import decoder_unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.activations import gelu_tanh
from qkv_cli.core.model import Model
from qkv_cli.core.positions import Rotary

DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 256_000,
    "hidden_size": 3072,
    "intermediate_size": 24576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "tie_word_embeddings": True,
}


def gemma(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(DEFAULTS)
    size, eps, has_bias = (
        read_size(config),
        config.eps("rms_norm_eps"),
        config.flag("attention_bias"),
    )
    config.one_of("use_bidirectional_attention", (None, False), None)
    # The first checkpoints say "gelu" for the tanh approximation.
    act = config.activation("hidden_act")
    act = gelu_tanh if config.get("hidden_act") == "gelu" else act
    config.one_of("hidden_activation", (None, "gelu_pytorch_tanh"), None)
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, n_max=8192)] * size.n_layers,
        norms=pre_norms(size.d_model, eps, offset=1.0),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps, offset=1.0),
        mlp=lambda layer: gated_mlp(layer, size, act),
        qkv_bias=has_bias,
        o_bias=has_bias,
        embed_scale=size.d_model**0.5,
    )


GEMMA2_DEFAULTS = {
    "vocab_size": 256_000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
    "tie_word_embeddings": True,
}


def gemma2(config: Config, tensors: Tensors) -> Model:
    config = config.with_defaults(GEMMA2_DEFAULTS)
    size, eps, has_bias = (
        read_size(config),
        config.eps("rms_norm_eps"),
        config.flag("attention_bias"),
    )
    act = config.activation("hidden_activation")
    config.one_of("use_bidirectional_attention", (None, False), None)
    config.ignore(
        "hidden_act",
        "sliding_window_size",
        reason="the class reads hidden_activation, sliding_window",
    )
    config.ignore("cache_implementation", reason="a text is computed in one pass, without a cache")
    kinds = ["full_attention" if i % 2 else "sliding_attention" for i in range(size.n_layers)]
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[read_rotary(config, size.d_head, n_max=8192)] * size.n_layers,
        windows=layer_windows(
            config, layer_kinds(config, kinds), config.optional_size("sliding_window")
        ),
        norms=gemma_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps, offset=1.0),
        mlp=lambda layer: gated_mlp(layer, size, act),
        qkv_bias=has_bias,
        o_bias=has_bias,
        scale=config.positive("query_pre_attn_scalar") ** -0.5,
        softcap=config.optional_positive("attn_logit_softcapping"),
        embed_scale=size.d_model**0.5,
        logit_softcap=config.optional_positive("final_logit_softcapping"),
    )


GEMMA3_DEFAULTS = {
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}
_N_MAX = 131_072


def gemma3(config: Config, tensors: Tensors) -> Model:
    if not (inner := config.mapping("text_config")):
        return _text(config.with_defaults(GEMMA3_DEFAULTS), tensors)
    config.ignore(
        "vision_config",
        "mm_tokens_per_image",
        "boi_token_id",
        "boi_token_index",
        "eoi_token_id",
        "eoi_token_index",
        "image_token_id",
        "image_token_index",
        reason="settings for images",
    )
    tensors.skip("*vision_tower.*", "*multi_modal_projector.*", "language_model.lm_head.*")
    text = config.part("text_config", inner).with_defaults(GEMMA3_DEFAULTS)
    text.one_of("model_type", ("gemma3_text",), "gemma3_text")
    model = _text(text, tensors.inner("model").inner("language_model"))
    config = config.with_defaults({"tie_word_embeddings": True})
    unembed = decoder_unembedding(config, tensors, model.embed.table)
    # Only the text model has a soft cap; the multimodal class has none.
    return replace(model, unembed=None if model.unembed is None else unembed)


def _text(config: Config, tensors: Tensors) -> Model:
    size, eps, has_bias = (
        read_size(config),
        config.eps("rms_norm_eps"),
        config.flag("attention_bias"),
    )
    act, kinds = config.activation("hidden_activation"), _kinds(config, size)
    config.one_of(
        "attn_logit_softcapping", (None,), None
    )  # the class reads it but does not apply it
    config.ignore("cache_implementation", reason="a text is computed in one pass, without a cache")
    rotaries = _rotaries(config, size.d_head)
    both_sides = bool(config.one_of("use_bidirectional_attention", (None, False, True), None))
    # A causal window includes the token itself; half of a bidirectional window does not.
    window = config.optional_size("sliding_window")
    window = window // 2 if both_sides and window is not None else window
    return rotary_decoder(
        config,
        tensors,
        size,
        rotaries=[rotaries[kind] for kind in kinds],
        windows=layer_windows(config, kinds, window),
        norms=gemma_norms(size.d_model, eps),
        final_norm=lambda t: t.rms_norm("norm", size.d_model, eps, offset=1.0),
        mlp=lambda layer: gated_mlp(layer, size, act),
        qkv_bias=has_bias,
        o_bias=has_bias,
        head_norm=lambda attn, of: attn.rms_norm(f"{of}_norm", size.d_head, eps, offset=1.0),
        is_causal=not both_sides,
        scale=config.positive("query_pre_attn_scalar") ** -0.5,
        embed_scale=size.d_model**0.5,
        logit_softcap=config.optional_positive("final_logit_softcapping"),
    )


def _kinds(config: Config, size: Size) -> list[str]:
    config.ignore("_sliding_window_pattern", reason="layer_types has the same information")
    every = config.size("sliding_window_pattern", 6)
    return layer_kinds(
        config,
        [
            "sliding_attention" if (i + 1) % every else "full_attention"
            for i in range(size.n_layers)
        ],
    )


def _rotaries(config: Config, d_head: int) -> dict[str, Rotary]:
    """Return the rotary embeddings of full-attention and of sliding-window layers."""
    settings = nested_rope_settings(config, scaled=("full_attention",))
    thetas = {
        "full_attention": config.get("rope_theta", 1_000_000.0),
        "sliding_attention": config.get("rope_local_base_freq", 10_000.0),
    }
    config.ignore("partial_rotary_factor", reason="the family rotates whole heads")
    config.ignore("original_max_position_embeddings", reason="read only from rope_parameters")
    return {
        kind: rotary_of(config, {"rope_theta": theta, **settings[kind]}, d_head, _N_MAX)
        for kind, theta in thetas.items()
    }
