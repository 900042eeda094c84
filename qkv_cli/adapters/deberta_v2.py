"""DeBERTa v2 and v3: BERT with disentangled attention in place of positions."""

from __future__ import annotations

from dataclasses import replace

from qkv_cli.adapters.encoder import LayerNames, post_norm_encoder
from qkv_cli.core.arrays import Array
from qkv_cli.core.blocks import Attention, Block, Blocks
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.convolution import Convolution
from qkv_cli.core.disentangled import Disentangled
from qkv_cli.core.model import Model, Stack
from qkv_cli.errors import CheckpointError

_NAMES = LayerNames(
    q="attention.self.query_proj", k="attention.self.key_proj", v="attention.self.value_proj"
)


def deberta_v2(config: Config, tensors: Tensors) -> Model:
    tensors.pass_over("cls.*", "lm_predictions.*", "mask_predictions.*")
    t, d_model = tensors.inner("deberta"), config["hidden_size"]
    d_head = d_model // config["num_attention_heads"]
    config.one_of("embedding_size", (d_model,), d_model)
    config.one_of("attention_head_size", (d_head,), d_head)
    config.get("legacy")  # which head guesses masked words
    if not (positions := config.get("position_biased_input", True)):
        tensors.pass_over("*embeddings.position_embeddings.weight")
    model = post_norm_encoder(config, t, names=_NAMES, positions=positions)
    plain, kinds, table = model.stacks["encoder"].blocks, _kinds(config), _table(config, t)
    # What meets the positions is scaled down with what it is added to.
    scale = (d_head * (1 + len(kinds))) ** -0.5

    def block(i: int) -> Block:
        made: Block = plain[i]
        assert made.attn is not None
        attn = replace(made.attn, scale=scale)
        if table is not None and kinds:
            own = t / f"encoder.layer.{i}.attention.self"
            attn = replace(attn, relative=_relative(config, kinds, table, attn, own))
        made = replace(made, attn=attn)
        return made if i else _convolved(config, t / "encoder.conv", made)

    return replace(model, stacks={"encoder": Stack(Blocks(len(plain), block))})


def _kinds(config: Config) -> set[str]:
    """Which of content to position and position to content there are: c2p, p2c."""
    said = config.get("pos_att_type", [])
    names = said.lower().split("|") if isinstance(said, str) else said
    kinds = {name.strip() for name in names} - {"none", ""}
    if unknown := sorted(kinds - {"c2p", "p2c"}):
        raise CheckpointError(f"config.json has pos_att_type {unknown[0]!r}: not implemented.")
    return kinds


def _table(config: Config, t: Tensors) -> Array | None:
    """A vector for each relative position; None where attention has none."""
    normed = config.one_of("norm_rel_ebd", ("none", "layer_norm"), "none") == "layer_norm"
    norm = t.layer_norm("encoder.LayerNorm", config["layer_norm_eps"]) if normed else None
    if not config.get("relative_attention", False):
        for unused in ("max_relative_positions", "position_buckets", "share_att_key"):
            config.get(unused)
        return None
    table = t["encoder.rel_embeddings.weight"]
    return table if norm is None else norm(table)


def _relative(
    config: Config, kinds: set[str], table: Array, attn: Attention, own: Tensors
) -> Disentangled:
    """The position terms of one layer.

    Args:
        own: What the layer's self-attention has.
    """
    shared, k, q = config.get("share_att_key", False), None, None
    if "c2p" in kinds:
        k = attn.k if shared else own.linear("pos_key_proj")
    if "p2c" in kinds:
        q = attn.q if shared else own.linear("pos_query_proj")
    n_buckets, reach = config.get("position_buckets", -1), config.get("max_relative_positions", -1)
    reach = reach if reach > 0 else config["max_position_embeddings"]
    if n_buckets > 0 and reach - 1 <= n_buckets // 2:
        raise CheckpointError(
            f"config.json has {n_buckets} position_buckets for {reach} relative positions."
        )
    return Disentangled(table, k, q, n_buckets if n_buckets > 0 else None, reach)


def _convolved(config: Config, t: Tensors, first: Block) -> Block:
    """The first layer, with a convolution beside it where there is one."""
    n_taps = config.get("conv_kernel_size", 0)
    act = config.activation("conv_act", "tanh")
    config.one_of("conv_groups", (1,), 1)
    if n_taps <= 0:
        return first
    if n_taps % 2 == 0:
        raise CheckpointError(f"config.json has conv_kernel_size {n_taps}: only odd ones work.")
    W = t["conv.weight"].transpose(2, 1, 0)  # from [d_out, d_in, n_taps]
    norm = t.layer_norm("LayerNorm", config["layer_norm_eps"])
    return replace(
        first,
        convolution=Convolution(W, t["conv.bias"], act),
        norms=replace(first.norms, convolved=norm),
    )
