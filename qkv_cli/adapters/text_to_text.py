"""The shape that T5 gave to encoder-decoders: biases by distance, RMSNorm, unscaled scores."""

from __future__ import annotations

from qkv_cli.adapters.vocabulary import embeddings, unembedding
from qkv_cli.core.arrays import ACTIVATIONS, Activation
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Buckets
from qkv_cli.core.model import Model, Stack
from qkv_cli.errors import CheckpointError

_TABLE = "layer.0.SelfAttention.relative_attention_bias.weight"
_SAID_BY_TENSORS = (
    "d_ff",
    "is_decoder",
    "n_positions",
    "num_heads",
    "relative_attention_num_buckets",
    "scalable_attention",
)


def text_to_text(
    config: Config, tensors: Tensors, *, scaled_output: bool, shared_bias: bool = True
) -> Model:
    """Under encoder.block and decoder.block.

    Args:
        scaled_output: Whether the last hidden state is scaled before it is held to the tokens.
        shared_bias: Whether layer 0 has the table of distances for all, or each has its own.
    """
    # Some files keep a table of distances for cross-attention, which has no distances.
    tensors.pass_over("*.EncDecAttention.relative_attention_bias.weight", "classifi*")
    eps, d_head, d_model = config["layer_norm_epsilon"], config["d_kv"], config["d_model"]
    reach = config.get("relative_attention_max_distance", 128)
    act, gated = _activation(config)
    for said in _SAID_BY_TENSORS:
        config.get(said)

    def attention(t: Tensors) -> Attention:
        q, k, v, o = (t.linear(name) for name in "qkvo")
        return Attention(q, k, v, o, d_head, scale=1.0)

    def mlp(t: Tensors) -> MLP:
        if gated:
            return MLP(t.linear("wi_1"), t.linear("wo"), act, gate=t.linear("wi_0"))
        return MLP(t.linear("wi"), t.linear("wo"), act)

    def block(t: Tensors, *, decoder: bool) -> Block:
        last = t / ("layer.2" if decoder else "layer.1")
        return Block(
            attn=attention(t / "layer.0.SelfAttention"),
            cross=attention(t / "layer.1.EncDecAttention") if decoder else None,
            mlp=mlp(last / "DenseReluDense"),
            norms=Norms(
                attn_in=t.rms_norm("layer.0.layer_norm", eps),
                cross_in=t.rms_norm("layer.1.layer_norm", eps) if decoder else None,
                mlp_in=last.rms_norm("layer_norm", eps),
            ),
            buckets=None if shared_bias else Buckets(t[_TABLE], reach),
        )

    def stack(t: Tensors, n_layers: int, *, decoder: bool) -> Stack:
        return Stack(
            Blocks(n_layers, lambda i: block(t / f"block.{i}", decoder=decoder)),
            causal=decoder,
            final_norm=t.rms_norm("final_layer_norm", eps),
            buckets=Buckets(t[f"block.0.{_TABLE}"], reach) if shared_bias else None,
        )

    n_layers, (embed, decoder_embed) = config["num_layers"], embeddings(tensors)
    n_decoder_layers = config.get("num_decoder_layers", n_layers)
    scale = d_model**-0.5 if scaled_output else 1.0
    return Model(
        embed=embed,
        decoder_embed=decoder_embed,
        stacks={
            "encoder": stack(tensors / "encoder", n_layers, decoder=False),
            "decoder": stack(tensors / "decoder", n_decoder_layers, decoder=True),
        },
        unembed=unembedding(tensors, tensors, scale=scale),
    )


def _activation(config: Config) -> tuple[Activation, bool]:
    """Of the MLP, and whether it is gated: "relu", "gated-silu"."""
    said = config.get("feed_forward_proj", "relu")
    # "gated-gelu" means the tanh approximation, for historical reasons.
    name = "gelu_new" if said == "gated-gelu" else said.removeprefix("gated-")
    if name not in ACTIVATIONS:
        raise CheckpointError(f"config.json has feed_forward_proj {said!r}: not implemented.")
    config.one_of("dense_act_fn", (name,), name)
    gated = said.startswith("gated-")
    config.one_of("is_gated_act", (gated,), gated)
    return ACTIVATIONS[name], gated
