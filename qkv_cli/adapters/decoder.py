"""The shape that Llama gave to decoders: rotary positions, and as a rule RMSNorm and gated MLPs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qkv_cli.adapters.vocabulary import decoder_unembedding
from qkv_cli.core.arrays import Activation
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, Embedding, Experts, Linear, Norm
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.rotary import Rotary
from qkv_cli.errors import CheckpointError


def separate_qkv(attn: Tensors) -> Sequence[Linear]:
    return [attn.linear(f"{name}_proj") for name in "qkv"]


def gated_mlp(layer: Tensors, act: Activation) -> MLP:
    gate, up, down = (layer.linear(f"mlp.{name}_proj") for name in ("gate", "up", "down"))
    return MLP(up, down, act, gate=gate)


def rotary_decoder(
    config: Config,
    tensors: Tensors,
    *,
    act: Activation,
    d_head: int,
    rotaries: Sequence[Rotary | None],
    windows: Sequence[int | None],
    norms: Callable[[Tensors], Norms],
    final_norm: Callable[[Tensors], Norm],
    qkv: Callable[[Tensors], Sequence[Linear]] = separate_qkv,
    o: str = "o_proj",
    head_norm: Callable[[Tensors, str], Norm] | None = None,
    mlp: Callable[[Tensors, Activation], MLP | Experts] = gated_mlp,
    parallel: bool = False,
    causal: bool = True,
    scale: float | None = None,
    softcap: float | None = None,
    embed_scale: float = 1.0,
    resid_scale: float = 1.0,
    tied: bool = False,
    logit_scale: float = 1.0,
    logit_softcap: float | None = None,
) -> Model:
    """A decoder, as a rule of gated blocks.

    Args:
        rotaries: Of each layer; None for one without positions.
        windows: Of each layer; None for one that sees everything before.
        norms: A layer's norms, from its tensors.
        qkv: A layer's projections, from those of its attention; `o` is the last one's name.
        head_norm: The norm of a layer's queries ("q") or keys ("k"), where it has them.
        mlp: What follows attention, from the layer's tensors.
        causal: False for one that looks to both sides, an encoder.
        scale: 1 / sqrt(d_head) if not given.
        tied: Whether the embeddings give the next token its score, where the config does not say.
    """
    t = tensors.inner("model", "transformer")
    tensors.pass_over("*rotary_emb.inv_freq")

    def block(layer: Tensors, rotary: Rotary | None, window: int | None) -> Block:
        attn = layer / "self_attn"
        q, k, v = qkv(attn)
        return Block(
            attn=Attention(
                q,
                k,
                v,
                attn.linear(o),
                d_head,
                scale=d_head**-0.5 if scale is None else scale,
                q_norm=None if head_norm is None else head_norm(attn, "q"),
                k_norm=None if head_norm is None else head_norm(attn, "k"),
                rotary=rotary,
                softcap=softcap,
            ),
            mlp=mlp(layer, act),
            norms=norms(layer),
            parallel=parallel,
            window=window,
            resid_scale=resid_scale,
        )

    table = t.stored("embed_tokens.weight")
    return Model(
        embed=Embedding(table),
        embed_scale=embed_scale,
        stacks={
            "decoder" if causal else "encoder": Stack(
                blocks=Blocks(
                    len(rotaries), lambda i: block(t / f"layers.{i}", rotaries[i], windows[i])
                ),
                causal=causal,
                final_norm=final_norm(t),
            )
        },
        unembed=decoder_unembedding(
            config, tensors, table, tied=tied, scale=logit_scale, softcap=logit_softcap
        )
        if causal
        else None,
    )


def layer_kinds(config: Config, default: Sequence[str]) -> list[str]:
    """`layer_types`, or what the family does where it is not said."""
    kinds = config.get("layer_types", list(default))
    if unknown := sorted(set(kinds) - {"full_attention", "sliding_attention"}):
        raise CheckpointError(f"config.json has a layer of {unknown[0]!r}: not implemented.")
    if len(kinds) != config["num_hidden_layers"]:
        raise CheckpointError(f"config.json has layer_types for {len(kinds)} layers.")
    return list(kinds)


def layer_windows(config: Config, default: Sequence[str]) -> list[int | None]:
    """Each layer's window, see `layer_kinds`."""
    window = config.get("sliding_window")
    return [window if k == "sliding_attention" else None for k in layer_kinds(config, default)]


def pre_norms(eps: float, *, offset: float = 0.0) -> Callable[[Tensors], Norms]:
    """A norm before attention and one before the MLP, which is named after the first."""
    return lambda layer: Norms(
        attn_in=layer.rms_norm("input_layernorm", eps, offset=offset),
        mlp_in=layer.rms_norm("post_attention_layernorm", eps, offset=offset),
    )


def gemma_norms(eps: float) -> Callable[[Tensors], Norms]:
    """A norm on both sides of each sub-layer, each with 1 left out of its weights."""

    def norms(layer: Tensors) -> Norms:
        attn, mlp = "attention_layernorm", "feedforward_layernorm"
        names = ("input_layernorm", f"post_{attn}", f"pre_{mlp}", f"post_{mlp}")
        attn_in, attn_out, mlp_in, mlp_out = (
            layer.rms_norm(name, eps, offset=1.0) for name in names
        )
        return Norms(attn_in=attn_in, attn_out=attn_out, mlp_in=mlp_in, mlp_out=mlp_out)

    return norms


def head_size(config: Config) -> int:
    n_heads, d_model = config["num_attention_heads"], config["hidden_size"]
    for said_by_tensors in ("num_key_value_heads", "intermediate_size"):
        config.get(said_by_tensors)
    return int(config.get("head_dim") or d_model // n_heads)
