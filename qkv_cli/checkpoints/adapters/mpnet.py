"""MPNet: BERT with a relative position bias shared by all layers, without token types."""

from __future__ import annotations

from dataclasses import replace

from qkv_cli.checkpoints.adapters.encoder import DEFAULTS, LayerNames, post_norm_encoder
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.layers import Buckets
from qkv_cli.core.model import Model

_NAMES = LayerNames(
    q="attention.attn.q",
    k="attention.attn.k",
    v="attention.attn.v",
    o="attention.attn.o",
    attn_norm="attention.LayerNorm",
)
# In the code, not in the config.
_PADDING, _N_BUCKETS, _MAX_DISTANCE = 1, 32, 128


def mpnet(config: Config, tensors: Tensors) -> Model:
    config, t = config.with_defaults({**DEFAULTS, "vocab_size": 30527}), tensors.inner("mpnet")
    config.one_of("relative_attention_num_buckets", (_N_BUCKETS,), _N_BUCKETS)
    n_heads = config.size("num_attention_heads")
    table = t.array("encoder.relative_attention_bias.weight", _N_BUCKETS, n_heads)
    model = post_norm_encoder(config, t, names=_NAMES, has_types=False, padding=_PADDING)
    encoder = replace(model.stacks["encoder"], buckets=Buckets(table, _MAX_DISTANCE))
    return replace(model, stacks={"encoder": encoder})
