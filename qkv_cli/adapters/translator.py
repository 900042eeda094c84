"""The shape that BART gave to encoder-decoders: LayerNorm, biases, a table that all share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qkv_cli.adapters.vocabulary import embeddings, unembedding
from qkv_cli.core.arrays import Activation
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms, StackName
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Places
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import sinusoids
from qkv_cli.errors import CheckpointError

STACKS: tuple[StackName, StackName] = ("encoder", "decoder")
_MAX_PLACES = 2**16
_EPS = 1e-5  # in the code, not in the config
# What fairseq's configs say of the shape is said by the family, or by the tensors.
_SAID = (
    "add_bias_logits",
    "classif_dropout",
    "decoder_ffn_dim",
    "do_blenderbot_90_layernorm",
    "encoder_ffn_dim",
    "extra_pos_embeddings",
    "force_bos_token_to_be_generated",
    "is_decoder",
    "max_position_embeddings",
    "normalize_before",
    "num_hidden_layers",
    "replacing_rate",
    "save_step",
    "static_position_embeddings",
    "student_decoder_layers",
    "student_encoder_layers",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What tells one such family from another."""

    pre_norm: bool = False  # norms before the sub-layers and behind the last, or behind each sum
    embed_norm: bool = False
    scale_embedding: bool = False  # where the config does not say
    activation: str = "gelu"  # the same


def translator(
    config: Config, tensors: Tensors, shape: Shape, places: Mapping[StackName, Places]
) -> Model:
    """Under model.encoder and model.decoder, or without the first word."""
    t, d_model = tensors.inner("model"), config["d_model"]
    tensors.pass_over("*coder.version", "classification_head.*", "qa_outputs.*")
    act = config.activation("activation_function", shape.activation)
    for said in _SAID:
        config.get(said)

    def stack(name: StackName) -> Stack:
        inner, d_head = t / name, d_model // config[f"{name}_attention_heads"]
        return Stack(
            Blocks(
                config[f"{name}_layers"],
                lambda i: _block(inner / f"layers.{i}", d_head, act, pre_norm=shape.pre_norm),
            ),
            causal=name == "decoder",
            final_norm=inner.layer_norm("layer_norm", _EPS) if shape.pre_norm else None,
        )

    embed, decoder_embed = embeddings(t)
    scaled = config.get("scale_embedding", shape.scale_embedding)
    return Model(
        embed=embed,
        decoder_embed=decoder_embed,
        embed_scale=d_model**0.5 if scaled else 1.0,
        places=places,
        embed_norms={name: (t / name).layer_norm("layernorm_embedding", _EPS) for name in STACKS}
        if shape.embed_norm
        else {},
        stacks={name: stack(name) for name in STACKS},
        unembed=unembedding(tensors, t)
        if config.get("tie_word_embeddings", True) or "lm_head.weight" in tensors
        else None,
    )


def _block(layer: Tensors, d_head: int, act: Activation, *, pre_norm: bool) -> Block:
    """A layer; one of a decoder has an `encoder_attn` too."""
    crosses = "encoder_attn.q_proj.weight" in layer

    def attention(name: str) -> Attention:
        q, k, v, o = (layer.linear(f"{name}.{part}_proj") for part in ("q", "k", "v", "out"))
        return Attention(q, k, v, o, d_head, d_head**-0.5)

    attn, mlp = (layer.layer_norm(f"{name}_layer_norm", _EPS) for name in ("self_attn", "final"))
    cross = layer.layer_norm("encoder_attn_layer_norm", _EPS) if crosses else None
    return Block(
        attn=attention("self_attn"),
        cross=attention("encoder_attn") if crosses else None,
        mlp=MLP(layer.linear("fc1"), layer.linear("fc2"), act),
        norms=Norms(attn_in=attn, cross_in=cross, mlp_in=mlp)
        if pre_norm
        else Norms(resid_mid=attn, cross_out=cross, resid_post=mlp),
    )


def learned_places(tensors: Tensors) -> dict[StackName, Places]:
    """Rows of a table each; the first two are spare, as fairseq's were for padding."""
    t = tensors.inner("model")
    return {name: Places((t / name)["embed_positions.weight"][2:]) for name in STACKS}


def sinusoidal_places(config: Config, tensors: Tensors) -> dict[StackName, Places]:
    """Marian's wavelengths, by pairs of dimensions; some files hold the table itself."""
    t, (n_ctx, d_model) = tensors.inner("model"), places_of(config, tensors)
    rate = 10_000.0 ** (-np.arange(0, d_model, 2) / d_model)
    stored = {name: (t / name).optional("embed_positions.weight") for name in STACKS}
    return {name: Places(sinusoids(n_ctx, rate) if w is None else w) for name, w in stored.items()}


def places_of(config: Config, tensors: Tensors) -> tuple[int, int]:
    """How many places a table has that is computed, and how wide it is.

    Raises:
        CheckpointError: The config says another width than the embeddings have, or no number of
            places that a text could have.
    """
    n_ctx, d_model = config.get("max_position_embeddings", 1024), config["d_model"]
    embed, _ = embeddings(tensors.inner("model"))
    if d_model != embed.table.shape[1]:
        raise CheckpointError(f"config.json has d_model {d_model!r}, not {embed.table.shape[1]}.")
    if type(n_ctx) is not int or not 0 < n_ctx <= _MAX_PLACES:
        raise CheckpointError(f"config.json has max_position_embeddings {n_ctx!r}.")
    return n_ctx, d_model
