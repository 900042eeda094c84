"""DeBERTa v2 and v3: BERT with disentangled attention instead of position embeddings."""

from __future__ import annotations

from dataclasses import replace

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.adapters.encoder import DEFAULTS, LayerNames, post_norm_encoder
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.arrays import Array
from qkv_cli.core.block import Attention, Block, Blocks, Convolution
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import Disentangled
from qkv_cli.errors import CheckpointError

_NAMES = LayerNames(
    q="attention.self.query_proj", k="attention.self.key_proj", v="attention.self.value_proj"
)
_CHANGED_DEFAULTS = {
    "vocab_size": 128_100,
    "hidden_size": 1536,
    "num_hidden_layers": 24,
    "num_attention_heads": 24,
    "intermediate_size": 6144,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "relative_attention": False,
    "max_relative_positions": -1,
    "position_biased_input": True,
}


def deberta_v2(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults({**DEFAULTS, **_CHANGED_DEFAULTS}), tensors.inner("deberta")
    tensors.skip("cls.*", "lm_predictions.*", "mask_predictions.*")
    d_model, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    d_head = head_width(config, d_model, n_heads)
    config.one_of("embedding_size", (d_model,), d_model)
    config.one_of("attention_head_size", (d_head,), d_head)
    config.ignore("legacy", "cls_dropout", reason="task heads")
    if not (has_positions := config.flag("position_biased_input")):
        tensors.skip("*embeddings.position_embeddings.weight")
    model = post_norm_encoder(config, t, names=_NAMES, has_positions=has_positions)
    plain_blocks, kinds, table = (
        model.stacks["encoder"].blocks,
        _term_names(config),
        _distance_table(config, t),
    )
    # The position terms are scaled like the content term.
    scale = (d_head * (1 + len(kinds))) ** -0.5

    def block(i: int) -> Block:
        plain_block: Block = plain_blocks[i]
        assert plain_block.attn is not None
        attn = replace(plain_block.attn, scale=scale)
        if table is not None and kinds:
            self_attn = t / f"encoder.layer.{i}.attention.self"
            attn = replace(attn, relative=_position_terms(config, kinds, table, attn, self_attn))
        plain_block = replace(plain_block, attn=attn)
        return plain_block if i else _with_convolution(config, t / "encoder.conv", plain_block)

    return replace(model, stacks={"encoder": Stack(Blocks(len(plain_blocks), block))})


def _term_names(config: Config) -> set[str]:
    """Return the position terms that the model has: c2p, p2c or both."""
    value = config.get("pos_att_type")
    names = value.lower().split("|") if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise config.invalid_value("pos_att_type", "'c2p', 'p2c' or 'c2p|p2c'")
    kinds = {name.strip() for name in names} - {"none", ""}
    if unknown := sorted(kinds - {"c2p", "p2c"}):
        raise CheckpointError(
            f"config.json has the pos_att_type {unknown[0]!r}, which is not implemented; "
            "implemented: 'c2p', 'p2c'."
        )
    return kinds


def _distance_table(config: Config, t: Tensors) -> Array | None:
    """Return a vector for each relative position; None if there are none."""
    d_model = config.size("hidden_size")
    is_normed = config.one_of("norm_rel_ebd", ("none", "layer_norm"), "none") == "layer_norm"
    eps = config.eps("layer_norm_eps")
    norm = t.layer_norm("encoder.LayerNorm", d_model, eps) if is_normed else None
    if not config.flag("relative_attention"):
        config.ignore(
            "max_relative_positions",
            "position_buckets",
            "share_att_key",
            reason="the model has no relative positions",
        )
        return None
    n_buckets, reach = _distances(config)
    table = t.array("encoder.rel_embeddings.weight", 2 * (n_buckets or reach), d_model)
    return table if norm is None else norm(table)


def _distances(config: Config) -> tuple[int | None, int]:
    """Return the number of buckets, if any, and the number of distinct distances."""
    any_integer = {"minimum": -(2**31)}
    n_buckets = config.size("position_buckets", -1, **any_integer)
    reach = config.size("max_relative_positions", **any_integer)
    reach = reach if reach > 0 else config.size("max_position_embeddings")
    if n_buckets > 0 and (n_buckets < 4 or reach - 1 <= n_buckets // 2):
        raise CheckpointError(
            f"config.json sets position_buckets to {n_buckets} for {reach} relative positions; "
            f"expected 4 or more, and fewer than {2 * reach - 2}."
        )
    return n_buckets if n_buckets > 0 else None, reach


def _position_terms(
    config: Config, kinds: set[str], table: Array, attn: Attention, self_attn: Tensors
) -> Disentangled:
    """Return the position terms of one layer.

    Args:
        self_attn: The tensors of the layer's self-attention.
    """
    is_shared, k, q = config.flag("share_att_key", False), None, None
    d_model, d_query = attn.q.d_in, attn.q.d_out
    if "c2p" in kinds:
        k = attn.k if is_shared else self_attn.linear("pos_key_proj", d_model, d_query)
    if "p2c" in kinds:
        q = attn.q if is_shared else self_attn.linear("pos_query_proj", d_model, d_query)
    return Disentangled(table, k, q, *_distances(config))


def _with_convolution(config: Config, t: Tensors, first_block: Block) -> Block:
    """Return the first layer, with its convolution if there is one."""
    n_taps = config.size("conv_kernel_size", 0, minimum=-(2**31))
    act = config.activation("conv_act", "tanh")
    config.one_of("conv_groups", (1,), 1)
    if n_taps <= 0:
        return first_block
    if n_taps % 2 == 0:
        raise config.invalid_value("conv_kernel_size", "an odd number")
    d_model = config.size("hidden_size")
    W = t.array("conv.weight", d_model, d_model, n_taps).transpose(2, 1, 0)
    norm = t.layer_norm("LayerNorm", d_model, config.eps("layer_norm_eps"))
    return replace(
        first_block,
        convolution=Convolution(W, t.array("conv.bias", d_model), act),
        norms=replace(first_block.norms, convolved=norm),
    )
