"""The shape that Llama gave to decoders: RMSNorm, rotary positions, a gated MLP."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qkv_cli.core.arrays import Activation
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.model import (
    MLP,
    Attention,
    Block,
    Blocks,
    Embedding,
    Linear,
    Model,
    Norm,
    Norms,
    Stack,
)
from qkv_cli.core.rotary import Rotary


def gated_decoder(
    config: Config,
    tensors: Tensors,
    *,
    act: Activation,
    d_head: int,
    rotaries: Sequence[Rotary | None],
    windows: Sequence[int | None],
    norms: Callable[[Tensors], Norms],
    final_norm: Callable[[Tensors], Norm],
    scale: float | None = None,
    softcap: float | None = None,
    embed_scale: float = 1.0,
    head_norm: Callable[[Tensors, str], Norm] | None = None,
    resid_scale: float = 1.0,
) -> Model:
    """A decoder of gated blocks.

    Args:
        rotaries: Of each layer; None for one without positions.
        windows: Of each layer; None for one that sees everything before.
        norms: A layer's norms, from its tensors.
        scale: 1 / sqrt(d_head) if not given.
        head_norm: The norm called so of a layer's queries or keys, where it has them.
    """
    t = tensors.inner("model")
    tensors.pass_over("lm_head.*", "*rotary_emb.inv_freq", "score.*")

    def block(layer: Tensors, rotary: Rotary | None, window: int | None) -> Block:
        attn = layer / "self_attn"
        q, k, v = qkv(attn)
        return Block(
            attn=Attention(
                q,
                k,
                v,
                attn.linear("o_proj"),
                d_head,
                scale=d_head**-0.5 if scale is None else scale,
                q_norm=None if head_norm is None else head_norm(attn, "q_norm"),
                k_norm=None if head_norm is None else head_norm(attn, "k_norm"),
                rotary=rotary,
                softcap=softcap,
            ),
            mlp=mlp(layer / "mlp"),
            norms=norms(layer),
            window=window,
            resid_scale=resid_scale,
        )

    def qkv(attn: Tensors) -> tuple[Linear, Linear, Linear]:
        q, k, v = (attn.linear(f"{name}_proj") for name in "qkv")
        return q, k, v

    def mlp(t: Tensors) -> MLP:
        return MLP(
            up=t.linear("up_proj"),
            down=t.linear("down_proj"),
            act=act,
            gate=t.linear("gate_proj"),
        )

    return Model(
        embed=Embedding(t.stored("embed_tokens.weight")),
        embed_scale=embed_scale,
        stacks={
            "decoder": Stack(
                blocks=Blocks(
                    len(rotaries), lambda i: block(t / f"layers.{i}", rotaries[i], windows[i])
                ),
                causal=True,
                final_norm=final_norm(t),
            )
        },
    )


def layer_windows(config: Config, default: Sequence[str]) -> list[int | None]:
    """Each layer's window, from `layer_types`, or what the family does where it is not said."""
    kinds = config.get("layer_types", list(default))
    window = config.get("sliding_window")
    return [window if kind == "sliding_attention" else None for kind in kinds]


def pre_norms(eps: float, *, offset: float = 0.0) -> Callable[[Tensors], Norms]:
    """A norm before attention and one before the MLP, which is named after the first."""
    return lambda layer: Norms(
        attn_in=layer.rms_norm("input_layernorm", eps, offset=offset),
        mlp_in=layer.rms_norm("post_attention_layernorm", eps, offset=offset),
    )


def head_size(config: Config) -> int:
    n_heads, d_model = config["num_attention_heads"], config["hidden_size"]
    for said_by_tensors in ("num_key_value_heads", "intermediate_size"):
        config.get(said_by_tensors)
    return int(config.get("head_dim") or d_model // n_heads)
