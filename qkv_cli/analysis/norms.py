"""How much of a value really flows: the lengths of the weighted vectors that attention adds up.

What a head adds to the output of query i is sum_j a_ij v_j W_O. Kobayashi et al. 2020, "Attention
is Not Only a Weight" (arXiv 2004.10102), section 3, look at the length of each summand,
||a_ij f(x_j)|| with f(x) = (x W_V + b_V) W_O: a large weight on a short vector moves little.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.core.blocks import LayerTrace
from qkv_cli.core.layers import Linear
from qkv_cli.views import BlockName, HeadMap, traced_head


def normed_head(layer: LayerTrace, head: int, block: BlockName | None = None) -> HeadMap:
    """The map of `traced_head`, with the length of what each key hands to each query."""
    m = traced_head(layer, head, block)
    attn = layer.block.attn if layer.cross is None else layer.block.cross
    if attn is None or m.v is None:
        raise ValueError(f"layer {layer.index} has no attention")
    return replace(m, norms=value_norms(m.pattern, m.v, attn.o, head))


def value_norms(pattern: Array, v: Array, o: Linear, head: int) -> Array:
    """|| pattern_ij (v_j W_O) ||, [n_query, n_key].

    Args:
        v: The values that this head blends, bias and all, [n_key, d_head].
        o: Of all heads; the rows of W_O that are this head's are taken.
    """
    d_head = v.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):  # see `HeadMaps.refuse_not_finite`
        lengths = np.linalg.norm(v @ o.W[head * d_head : (head + 1) * d_head], axis=1)  # [n_key]
        norms: Array = np.abs(pattern) * lengths
    return norms
