"""T5, FLAN-T5, mT5: encoder-decoder, biases by distance, unscaled scores."""

from __future__ import annotations

from qkv_cli.core.arrays import ACTIVATIONS
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import MLP, Attention, Block, Buckets, Embedding, Model, Norms, Stack
from qkv_cli.errors import CheckpointError


def t5(config: Config, tensors: Tensors) -> Model:
    tensors.pass_over("lm_head.*", "*coder.embed_tokens.weight")  # copies of shared.weight
    eps, d_head = config["layer_norm_epsilon"], config["d_kv"]
    kind = config.get("feed_forward_proj", "relu")
    # "gated-gelu" means the tanh approximation, for historical reasons.
    name = {"gated-gelu": "gelu_new"}.get(kind, kind.removeprefix("gated-"))
    if name not in ACTIVATIONS:
        raise CheckpointError(f"config.json has feed_forward_proj {kind!r}: not implemented.")
    act, reach = ACTIVATIONS[name], config.get("relative_attention_max_distance", 128)
    said = ("d_model", "d_ff", "num_heads", "relative_attention_num_buckets", "n_positions")
    for known in (*said, "dense_act_fn", "is_gated_act", "is_decoder", "scale_decoder_outputs"):
        config.get(known)

    def attention(t: Tensors) -> Attention:
        q, k, v, o = (t.linear(name) for name in "qkvo")
        return Attention(q, k, v, o, d_head, scale=1.0)

    def mlp(t: Tensors) -> MLP:
        if kind.startswith("gated-"):
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
        )

    def stack(t: Tensors, n_layers: int, *, decoder: bool) -> Stack:
        return Stack(
            blocks=[block(t / f"block.{i}", decoder=decoder) for i in range(n_layers)],
            causal=decoder,
            final_norm=t.rms_norm("final_layer_norm", eps),
            # Only layer 0 holds the table; every layer adds it.
            buckets=Buckets(
                t["block.0.layer.0.SelfAttention.relative_attention_bias.weight"], reach
            ),
        )

    n_layers = config["num_layers"]
    return Model(
        embed=Embedding(tensors.stored("shared.weight")),
        stacks={
            "encoder": stack(tensors / "encoder", n_layers, decoder=False),
            "decoder": stack(
                tensors / "decoder", config.get("num_decoder_layers", n_layers), decoder=True
            ),
        },
    )
