"""Gemma 3, its text model: five layers slide for each that does not, and turn otherwise."""

from __future__ import annotations

from dataclasses import replace

from qkv_cli.adapters.decoder import gemma_norms, head_size, layer_kinds, rotary_decoder
from qkv_cli.adapters.rope import rotary_of
from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import Model
from qkv_cli.core.rotary import Rotary

# What the configs of published models leave out of their `text_config`.
_UNSAID = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 131_072,
    "sliding_window": 4096,
}


def gemma3(config: Config, tensors: Tensors) -> Model:
    if (inner := config.get("text_config")) is None:
        return _text(config, tensors)
    # What else is in the file sees pictures; a text alone never meets it.
    for of_pictures in ("vision_config", "mm_tokens_per_image", "boi_token_index"):
        config.get(of_pictures)
    for of_pictures in ("eoi_token_index", "image_token_index"):
        config.get(of_pictures)
    tensors.pass_over("*vision_tower.*", "*multi_modal_projector.*", "language_model.lm_head.*")
    text = Config(inner | {name: v for name, v in _UNSAID.items() if inner.get(name) is None})
    text.one_of("model_type", ("gemma3_text",))
    model = _text(text, tensors.inner("model").inner("language_model"))
    text.refuse_unread()
    unembed = decoder_unembedding(config, tensors, model.embed.table, tied=True)
    # A soft cap is of the text model alone: the class that sees pictures has none.
    return replace(model, unembed=None if model.unembed is None else unembed)


def _text(config: Config, tensors: Tensors) -> Model:
    d_head, eps, n_layers = head_size(config), config["rms_norm_eps"], config["num_hidden_layers"]
    config.one_of("attn_logit_softcapping", (None,))  # no one applies it, whatever it says
    config.get("cache_implementation")
    config.get("_sliding_window_pattern")
    every = config.get("sliding_window_pattern", 6)
    kinds = ["sliding_attention" if (i + 1) % every else "full_attention" for i in range(n_layers)]
    kinds = layer_kinds(config, kinds)
    rotaries = _rotaries(config, d_head)
    both_sides = config.get("use_bidirectional_attention", False)
    # A window counts the token itself, but half of one that looks to both sides does not.
    window = config["sliding_window"] // 2 if both_sides else config["sliding_window"]
    return rotary_decoder(
        config,
        tensors,
        act=config.activation("hidden_activation", "gelu_pytorch_tanh"),
        d_head=d_head,
        rotaries=[rotaries[kind] for kind in kinds],
        windows=[window if kind == "sliding_attention" else None for kind in kinds],
        norms=gemma_norms(eps),
        final_norm=lambda t: t.rms_norm("norm", eps, offset=1.0),
        head_norm=lambda t, of: t.rms_norm(f"{of}_norm", eps, offset=1.0),
        causal=not both_sides,
        scale=config.get("query_pre_attn_scalar", 256) ** -0.5,
        embed_scale=config["hidden_size"] ** 0.5,
        tied=True,
        logit_softcap=config.get("final_logit_softcapping"),
    )


def _rotaries(config: Config, d_head: int) -> dict[str, Rotary]:
    """Of the layers that see everything, and of those that slide."""
    new, n_max = config.get("rope_parameters", {}), config["max_position_embeddings"]
    far = {"rope_theta": config.get("rope_theta", 1_000_000.0), **config.get("rope_scaling", {})}
    near = {"rope_theta": config.get("rope_local_base_freq", 10_000.0)}
    settings = {"full_attention": far, "sliding_attention": near}
    return {
        kind: rotary_of({**old, **(new.get(kind) or {})}, n_max, d_head, 1.0, config)
        for kind, old in settings.items()
    }
