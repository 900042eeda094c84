"""Gemma 3, its text model: five layers slide for each that does not, and turn otherwise."""

from __future__ import annotations

from dataclasses import replace

from qkv_cli.adapters.decoder import (
    Size,
    gated_mlp,
    gemma_norms,
    layer_kinds,
    layer_windows,
    read_size,
    rotary_decoder,
)
from qkv_cli.adapters.rope import nested_rope_settings, rotary_of
from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model
from qkv_cli.core.rotary import Rotary

DEFAULTS = {
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
        return _text(config.over(DEFAULTS), tensors)
    config.ignore(
        "vision_config",
        "mm_tokens_per_image",
        "boi_token_id",
        "boi_token_index",
        "eoi_token_id",
        "eoi_token_index",
        "image_token_id",
        "image_token_index",
        why="they are of pictures, which a text does not meet",
    )
    tensors.pass_over("*vision_tower.*", "*multi_modal_projector.*", "language_model.lm_head.*")
    text = config.part("text_config", inner).over(DEFAULTS)
    text.one_of("model_type", ("gemma3_text",), "gemma3_text")
    model = _text(text, tensors.inner("model").inner("language_model"))
    config = config.over({"tie_word_embeddings": True})
    unembed = decoder_unembedding(config, tensors, model.embed.table)
    # A soft cap is of the text model alone: the class that sees pictures has none.
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
    )  # the class has it, and does not apply it
    config.ignore("cache_implementation", why="one text is read at once, nothing is cached")
    rotaries = _rotaries(config, size.d_head)
    both_sides = bool(config.one_of("use_bidirectional_attention", (None, False, True), None))
    # A window counts the token itself, but half of one that looks to both sides does not.
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
    config.ignore("_sliding_window_pattern", why="layer_types, in the same file, says it")
    every = config.size("sliding_window_pattern", 6)
    return layer_kinds(
        config,
        [
            "sliding_attention" if (i + 1) % every else "full_attention"
            for i in range(size.n_layers)
        ],
    )


def _rotaries(config: Config, d_head: int) -> dict[str, Rotary]:
    """Of the layers that see everything, and of those that slide."""
    settings = nested_rope_settings(config, scaled=("full_attention",))
    thetas = {
        "full_attention": config.get("rope_theta", 1_000_000.0),
        "sliding_attention": config.get("rope_local_base_freq", 10_000.0),
    }
    config.ignore("partial_rotary_factor", why="the family rotates whole heads")
    config.ignore("original_max_position_embeddings", why="read in rope_parameters alone")
    return {
        kind: rotary_of(config, {"rope_theta": theta, **settings[kind]}, d_head, _N_MAX)
        for kind, theta in thetas.items()
    }
