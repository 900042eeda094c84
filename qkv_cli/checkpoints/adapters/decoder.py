"""Decoders like Llama: rotary positions and, by default, RMSNorm and gated MLPs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qkv_cli.checkpoints.adapters.vocabulary import decoder_unembedding
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.activations import Activation
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, Embedding, Experts, Linear, Norm
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import Rotary
from qkv_cli.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Size:
    """The sizes of a decoder, from its config."""

    n_layers: int
    d_model: int
    d_mlp: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_vocab: int

    @property
    def d_query(self) -> int:
        """The size of the queries of all heads."""
        return self.n_heads * self.d_head

    @property
    def d_key(self) -> int:
        return self.n_kv_heads * self.d_head


def read_size(config: Config) -> Size:
    n_heads, d_model = config.size("num_attention_heads"), config.size("hidden_size")
    n_kv_heads = config.optional_size("num_key_value_heads") or n_heads
    if n_heads % n_kv_heads:
        raise config.invalid_value(
            "num_key_value_heads", f"a divisor of num_attention_heads ({n_heads})"
        )
    return Size(
        n_layers=config.n_layers("num_hidden_layers"),
        d_model=d_model,
        d_mlp=config.size("intermediate_size"),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_head=config.optional_size("head_dim") or head_width(config, d_model, n_heads),
        d_vocab=config.size("vocab_size"),
    )


def head_width(config: Config, d_model: int, n_heads: int) -> int:
    """Return d_head of a model with d_head = d_model / n_heads."""
    if n_heads > d_model:
        raise CheckpointError(
            f"{config.place} sets {n_heads} attention heads, more than the width of the model "
            f"({d_model})."
        )
    return d_model // n_heads


def gated_mlp(layer: Tensors, size: Size, act: Activation, *, has_bias: bool = False) -> MLP:
    gate, up = (
        layer.linear(f"mlp.{name}_proj", size.d_model, size.d_mlp, has_bias=has_bias)
        for name in ("gate", "up")
    )
    down = layer.linear("mlp.down_proj", size.d_mlp, size.d_model, has_bias=has_bias)
    return MLP(up, down, act, gate=gate)


def rotary_decoder(
    config: Config,
    tensors: Tensors,
    size: Size,
    *,
    rotaries: Sequence[Rotary | None],
    norms: Callable[[Tensors], Norms],
    final_norm: Callable[[Tensors], Norm],
    mlp: Callable[[Tensors], MLP | Experts],
    windows: Sequence[int | None] = (),
    qkv: Callable[[Tensors], Sequence[Linear]] | None = None,
    qkv_bias: bool = False,
    o: str = "o_proj",
    o_bias: bool = False,
    head_norm: Callable[[Tensors, str], Norm] | None = None,
    is_parallel: bool = False,
    is_causal: bool = True,
    scale: float | None = None,
    softcap: float | None = None,
    embed_scale: float = 1.0,
    resid_scale: float = 1.0,
    logit_scale: float = 1.0,
    logit_softcap: float | None = None,
    logit_bias: bool = False,
) -> Model:
    """Build a decoder.

    Args:
        rotaries: The rotary embedding of each layer; None for a layer without positions.
        norms: Returns a layer's norms, given its tensors.
        mlp: Returns a layer's MLP, given its tensors.
        windows: The window of each layer; None for unlimited, the default.
        qkv: Returns a layer's projections, given the tensors of its attention, if they are fused;
            `o` is the name of the output projection.
        head_norm: Returns the norm of a layer's queries ("q") or keys ("k"), if it has one.
        is_causal: False for a bidirectional model, an encoder.
        scale: 1 / sqrt(d_head) by default.
    """
    t = tensors.inner("model", "transformer")
    tensors.skip("*rotary_emb.inv_freq")
    if not is_causal:
        config.ignore("tie_word_embeddings", reason="an encoder has no unembedding")
    t.require_layer(f"layers.{size.n_layers - 1}", size.n_layers)

    def separate_qkv(attn: Tensors) -> list[Linear]:
        widths = {"q": size.d_query, "k": size.d_key, "v": size.d_key}
        return [
            attn.linear(f"{name}_proj", size.d_model, width, has_bias=qkv_bias)
            for name, width in widths.items()
        ]

    def block(i: int) -> Block:
        layer = t / f"layers.{i}"
        attn = layer / "self_attn"
        q, k, v = (qkv or separate_qkv)(attn)
        return Block(
            attn=Attention(
                q=q,
                k=k,
                v=v,
                o=attn.linear(o, size.d_query, size.d_model, has_bias=o_bias),
                d_head=size.d_head,
                scale=size.d_head**-0.5 if scale is None else scale,
                q_norm=None if head_norm is None else head_norm(attn, "q"),
                k_norm=None if head_norm is None else head_norm(attn, "k"),
                rotary=rotaries[i],
                softcap=softcap,
            ),
            mlp=mlp(layer),
            norms=norms(layer),
            parallel=is_parallel,
            window=windows[i] if windows else None,
            resid_scale=resid_scale,
        )

    table = t.stored("embed_tokens.weight", size.d_vocab, size.d_model)
    return Model(
        embed=Embedding(table),
        embed_scale=embed_scale,
        stacks={
            "decoder" if is_causal else "encoder": Stack(
                blocks=Blocks(size.n_layers, block), causal=is_causal, final_norm=final_norm(t)
            )
        },
        unembed=(
            decoder_unembedding(
                config,
                tensors,
                table,
                scale=logit_scale,
                softcap=logit_softcap,
                has_bias=logit_bias,
            )
            if is_causal
            else None
        ),
    )


_OLD_KINDS = {"attention": "full_attention"}


def layer_kinds(config: Config, default: Sequence[str]) -> list[str]:
    """Return `layer_types`, or the family's default."""
    kinds = config.optional_list("layer_types")
    kinds = list(default) if kinds is None else [_OLD_KINDS.get(str(k), k) for k in kinds]
    implemented = ("full_attention", "sliding_attention")
    if unknown := [kind for kind in kinds if kind not in implemented]:
        raise CheckpointError(
            f"layer_types in config.json contains {unknown[0]!r}, which is not implemented; "
            f"implemented: {', '.join(map(repr, implemented))}."
        )
    if len(kinds) != len(default):
        raise CheckpointError(
            f"layer_types in config.json has {len(kinds)} items; expected one for each of the "
            f"{len(default)} layers."
        )
    return kinds


def layer_windows(config: Config, kinds: Sequence[str], window: int | None) -> list[int | None]:
    """Return the window of each layer, from its type."""
    if window is None and "sliding_attention" in kinds:
        raise CheckpointError(
            "config.json has layers of type 'sliding_attention', but no sliding_window, or "
            "use_sliding_window is false."
        )
    return [window if kind == "sliding_attention" else None for kind in kinds]


def pre_norms(d_model: int, eps: float, *, offset: float = 0.0) -> Callable[[Tensors], Norms]:
    """Return the norms before attention and before the MLP."""
    return lambda layer: Norms(
        attn_in=layer.rms_norm("input_layernorm", d_model, eps, offset=offset),
        mlp_in=layer.rms_norm("post_attention_layernorm", d_model, eps, offset=offset),
    )


def gemma_norms(d_model: int, eps: float) -> Callable[[Tensors], Norms]:
    """Return norms before and after each sub-layer, whose weights are stored minus 1."""

    def norms(layer: Tensors) -> Norms:
        attn, mlp = "attention_layernorm", "feedforward_layernorm"
        names = ("input_layernorm", f"post_{attn}", f"pre_{mlp}", f"post_{mlp}")
        attn_in, attn_out, mlp_in, mlp_out = (
            layer.rms_norm(name, d_model, eps, offset=1.0) for name in names
        )
        return Norms(attn_in=attn_in, attn_out=attn_out, mlp_in=mlp_in, mlp_out=mlp_out)

    return norms
