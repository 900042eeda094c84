"""Encoder-decoders like T5: relative position biases, RMSNorm, unscaled scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qkv_cli.checkpoints.adapters.vocabulary import embeddings, unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.activations import ACTIVATIONS, Activation
from qkv_cli.core.arrays import Array
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Buckets
from qkv_cli.core.model import Model, Stack
from qkv_cli.errors import CheckpointError
from qkv_cli.names import StackName

_TABLE = "layer.0.SelfAttention.relative_attention_bias.weight"
DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
}
# Defaults of mT5 and UMT5.
MULTILINGUAL = {
    **DEFAULTS,
    "vocab_size": 250_112,
    "d_ff": 1024,
    "num_layers": 8,
    "num_heads": 6,
    "feed_forward_proj": "gated-gelu",
}
ALIASES = {
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
    "head_dim": "d_kv",
}


@dataclass(frozen=True, slots=True)
class _Size:
    """The sizes of a model, and what all layers share."""

    d_model: int
    d_head: int
    n_heads: int
    d_mlp: int
    eps: float
    act: Activation
    is_gated: bool
    n_buckets: int
    max_distance: int

    def buckets(self, t: Tensors, name: str) -> Buckets:
        table: Array = t.array(name, self.n_buckets, self.n_heads)
        return Buckets(table, self.max_distance)


def text_to_text(
    config: Config, tensors: Tensors, *, scaled_output: bool, shared_bias: bool = True
) -> Model:
    """Build the model; a checkpoint without a decoder is an encoder.

    Args:
        config: The config with its defaults.
        scaled_output: Whether the last hidden state is scaled before the unembedding.
        shared_bias: Whether layer 0 has the relative position bias of all layers.
    """
    # Some files contain a position bias for cross-attention, which has no positions.
    tensors.skip("*.EncDecAttention.relative_attention_bias.weight", "classifi*")
    size, n_tokens = _size(config), config.size("vocab_size")
    config.ignore("is_decoder", reason="transformers' class sets it for each stack")
    config.ignore(
        "n_positions", "scalable_attention", reason="transformers' class does not read them"
    )
    config.ignore("tie_word_embeddings", reason="transformers' class sets it itself")
    n_layers = config.n_layers("num_layers")
    depths: dict[StackName, int] = {"encoder": n_layers}
    n_decoder_layers = config.optional_size("num_decoder_layers") or n_layers
    if any(name.startswith(f"{tensors.prefix}decoder.") for name in tensors.by_name):
        depths["decoder"] = n_decoder_layers
        config.one_of("is_encoder_decoder", (True,), True)

    def stack(name: StackName, n_layers: int) -> Stack:
        t = tensors / name
        t.require_layer(f"block.{n_layers - 1}", n_layers)
        return Stack(
            Blocks(
                n_layers,
                lambda i: _block(
                    t / f"block.{i}",
                    size,
                    is_decoder=name == "decoder",
                    has_own_bias=not shared_bias,
                ),
            ),
            causal=name == "decoder",
            final_norm=t.rms_norm("final_layer_norm", size.d_model, size.eps),
            buckets=size.buckets(t, f"block.0.{_TABLE}") if shared_bias else None,
        )

    embed, decoder_embed = embeddings(tensors, n_tokens, size.d_model)
    scale = size.d_model**-0.5 if scaled_output else 1.0
    has_decoder = "decoder" in depths
    if has_decoder:
        unembed = unembedding(tensors, tensors, size.d_model, scale=scale)
    return Model(
        embed=embed,
        decoder_embed=decoder_embed if has_decoder else None,
        stacks={name: stack(name, n) for name, n in depths.items()},
        unembed=unembed if has_decoder else None,
    )


def _size(config: Config) -> _Size:
    act, is_gated = _activation(config)
    n_buckets = config.size("relative_attention_num_buckets", minimum=4)
    max_distance = config.size("relative_attention_max_distance")
    if max_distance <= n_buckets // 2:
        valid = f"more than {n_buckets // 2}, half of relative_attention_num_buckets"
        raise config.invalid_value("relative_attention_max_distance", valid)
    return _Size(
        d_model=config.size("d_model"),
        d_head=config.size("d_kv"),
        n_heads=config.size("num_heads"),
        d_mlp=config.size("d_ff"),
        eps=config.eps("layer_norm_epsilon"),
        act=act,
        is_gated=is_gated,
        n_buckets=n_buckets,
        max_distance=max_distance,
    )


def _block(t: Tensors, size: _Size, *, is_decoder: bool, has_own_bias: bool) -> Block:
    d_model, d_query, d_mlp = size.d_model, size.n_heads * size.d_head, size.d_mlp

    def attention(t: Tensors) -> Attention:
        q, k, v = (t.linear(name, d_model, d_query, has_bias=False) for name in "qkv")
        o = t.linear("o", d_query, d_model, has_bias=False)
        return Attention(q=q, k=k, v=v, o=o, d_head=size.d_head, scale=1.0)

    def mlp(t: Tensors) -> MLP:
        names = ("wi_1", "wi_0") if size.is_gated else ("wi",)
        up, *gate = (t.linear(name, d_model, d_mlp, has_bias=False) for name in names)
        return MLP(up, t.linear("wo", d_mlp, d_model, has_bias=False), size.act, *gate)

    mlp_tensors = t / ("layer.2" if is_decoder else "layer.1")
    attn_in, mlp_in = (
        x.rms_norm("layer_norm", d_model, size.eps) for x in (t / "layer.0", mlp_tensors)
    )
    cross_in = t.rms_norm("layer.1.layer_norm", d_model, size.eps) if is_decoder else None
    return Block(
        attn=attention(t / "layer.0.SelfAttention"),
        cross=attention(t / "layer.1.EncDecAttention") if is_decoder else None,
        mlp=mlp(mlp_tensors / "DenseReluDense"),
        norms=Norms(attn_in=attn_in, cross_in=cross_in, mlp_in=mlp_in),
        buckets=size.buckets(t, _TABLE) if has_own_bias else None,
    )


def _activation(config: Config) -> tuple[Activation, bool]:
    """Return the activation of the MLP, and whether it is gated: "relu", "gated-silu"."""
    value = config.get("feed_forward_proj")
    if not isinstance(value, str):
        raise config.invalid_value("feed_forward_proj", "a string, such as 'relu' or 'gated-gelu'")
    # "gated-gelu" means the tanh approximation, for historical reasons.
    name = "gelu_new" if value == "gated-gelu" else value.removeprefix("gated-")
    if name not in ACTIVATIONS:
        raise CheckpointError(
            f"config.json sets feed_forward_proj to {value!r:.60}, which is not implemented; "
            f"implemented: {', '.join(ACTIVATIONS)}, each also with the prefix 'gated-'."
        )
    config.one_of("dense_act_fn", (name,), name)
    is_gated = value.startswith("gated-")
    config.one_of("is_gated_act", (is_gated,), is_gated)
    return ACTIVATIONS[name], is_gated
