"""Encoder-decoders like BART: LayerNorm, biases, and shared embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.vocabulary import embeddings, unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.activations import Activation
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, PositionEmbeddings
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import sinusoids
from qkv_cli.names import StackName

STACKS: tuple[StackName, StackName] = ("encoder", "decoder")
_MAX_POSITIONS = 2**16
_EPS = 1e-5  # in the code, not in the config
DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
    "encoder_layers": 12,
    "encoder_ffn_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_layers": 12,
    "decoder_ffn_dim": 4096,
    "decoder_attention_heads": 16,
    "activation_function": "gelu",
    "d_model": 1024,
    "scale_embedding": False,
    "tie_word_embeddings": True,
}
ALIASES = {
    "num_attention_heads": "encoder_attention_heads",
    "num_hidden_layers": "encoder_layers",
    "hidden_size": "d_model",
}


@dataclass(frozen=True, slots=True)
class NormLayout:
    """The places of norms, in which the families differ."""

    is_pre_norm: bool = (
        False  # norms before the sub-layers and after the last, instead of after each sum
    )
    has_embed_norm: bool = False


@dataclass(frozen=True, slots=True)
class _Size:
    """The sizes of one stack."""

    d_model: int
    d_head: int
    n_heads: int
    d_mlp: int


def translator(
    config: Config,
    tensors: Tensors,
    layout: NormLayout,
    positions: Mapping[StackName, PositionEmbeddings],
) -> Model:
    """Build the model from tensors under model.encoder and model.decoder, or without model.

    Args:
        config: The config with its defaults.
    """
    t, d_model = tensors.inner("model"), config.size("d_model")
    tensors.skip("*coder.version", "classification_head.*", "qa_outputs.*")
    act, n_tokens = config.activation("activation_function"), config.size("vocab_size")
    _ignore(config)

    def stack(name: StackName) -> Stack:
        inner, n_heads = t / name, config.size(f"{name}_attention_heads")
        d_head, d_mlp = head_width(config, d_model, n_heads), config.size(f"{name}_ffn_dim")
        size, n_layers = _Size(d_model, d_head, n_heads, d_mlp), config.n_layers(f"{name}_layers")
        inner.require_layer(f"layers.{n_layers - 1}", n_layers)
        return Stack(
            Blocks(
                n_layers,
                lambda i: _block(
                    inner / f"layers.{i}",
                    size,
                    act,
                    is_pre_norm=layout.is_pre_norm,
                    has_cross=name == "decoder",
                ),
            ),
            causal=name == "decoder",
            final_norm=inner.layer_norm("layer_norm", d_model, _EPS)
            if layout.is_pre_norm
            else None,
        )

    embed, decoder_embed = embeddings(t, n_tokens, d_model)
    has_output = config.flag("tie_word_embeddings") or "lm_head.weight" in tensors
    return Model(
        embed=embed,
        decoder_embed=decoder_embed,
        embed_scale=d_model**0.5 if config.flag("scale_embedding") else 1.0,
        positions=positions,
        embed_norms=(
            {name: (t / name).layer_norm("layernorm_embedding", d_model, _EPS) for name in STACKS}
            if layout.has_embed_norm
            else {}
        ),
        stacks={name: stack(name) for name in STACKS},
        unembed=unembedding(tensors, t, d_model) if has_output else None,
    )


def _ignore(config: Config) -> None:
    config.ignore(
        "add_bias_logits",
        "add_final_layer_norm",
        "do_blenderbot_90_layernorm",
        "extra_pos_embeddings",
        "normalize_before",
        "normalize_embedding",
        "static_position_embeddings",
        reason="settings of fairseq, which transformers' class does not read",
    )
    config.ignore(
        "classif_dropout",
        "replacing_rate",
        "save_step",
        "student_decoder_layers",
        "student_encoder_layers",
        reason="training",
    )
    config.ignore(
        "force_bos_token_to_be_generated", reason="generation settings are read separately"
    )
    config.ignore("is_decoder", reason="transformers' class sets it for each stack")


def _block(
    layer: Tensors, size: _Size, act: Activation, *, is_pre_norm: bool, has_cross: bool
) -> Block:
    d_model, d_query = size.d_model, size.n_heads * size.d_head

    def attention(name: str) -> Attention:
        q, k, v = (layer.linear(f"{name}.{part}_proj", d_model, d_query) for part in "qkv")
        o = layer.linear(f"{name}.out_proj", d_query, d_model)
        return Attention(q=q, k=k, v=v, o=o, d_head=size.d_head, scale=size.d_head**-0.5)

    attn, mlp = (layer.layer_norm(f"{n}_layer_norm", d_model, _EPS) for n in ("self_attn", "final"))
    cross = layer.layer_norm("encoder_attn_layer_norm", d_model, _EPS) if has_cross else None
    up, down = layer.linear("fc1", d_model, size.d_mlp), layer.linear("fc2", size.d_mlp, d_model)
    return Block(
        attn=attention("self_attn"),
        cross=attention("encoder_attn") if has_cross else None,
        mlp=MLP(up, down, act),
        norms=(
            Norms(attn_in=attn, cross_in=cross, mlp_in=mlp)
            if is_pre_norm
            else Norms(resid_mid=attn, cross_out=cross, resid_post=mlp)
        ),
    )


def learned_positions(config: Config, tensors: Tensors) -> dict[StackName, PositionEmbeddings]:
    """Return learned positions; the first two rows are unused, as in fairseq."""
    t, n_positions = tensors.inner("model"), config.size("max_position_embeddings")
    d_model = config.size("d_model")
    return {
        name: PositionEmbeddings(
            (t / name).array("embed_positions.weight", n_positions + 2, d_model)[2:]
        )
        for name in STACKS
    }


def sinusoidal_positions(config: Config, tensors: Tensors) -> dict[StackName, PositionEmbeddings]:
    """Return Marian's sinusoidal positions; some checkpoints contain the table itself."""
    t, (n_positions, d_model) = tensors.inner("model"), position_table_size(config, tensors)
    rate = 10_000.0 ** (-np.arange(0, d_model, 2) / d_model)
    stored_tables = {
        name: (t / name).optional("embed_positions.weight", n_positions, d_model) for name in STACKS
    }
    return {
        name: PositionEmbeddings(sinusoids(n_positions, rate) if w is None else w)
        for name, w in stored_tables.items()
    }


def position_table_size(config: Config, tensors: Tensors) -> tuple[int, int]:
    """Return the number of positions of a computed table, and its width."""
    n_positions = config.size("max_position_embeddings", maximum=_MAX_POSITIONS)
    d_model = config.size("d_model", minimum=4)
    embeddings(
        tensors.inner("model"), config.size("vocab_size"), d_model
    )  # before a table is computed
    return n_positions, d_model
