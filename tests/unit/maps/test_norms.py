"""Norms of contributions, against plain arithmetic on the tensors."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import LayerTrace
from qkv_cli.formats.safetensors import open_tensors
from qkv_cli.maps.flow import normed_head
from qkv_cli.session.load import load

CHECKPOINTS = Path(__file__).parents[2] / "golden" / "checkpoints"


def run(case: str) -> tuple[list[LayerTrace], dict[str, np.ndarray], np.lib.npyio.NpzFile]:
    folder = CHECKPOINTS / case
    tensors = open_tensors(folder / "model.safetensors")
    model = build(json.loads((folder / "config.json").read_text()), Tensors(tensors))
    expected = np.load(folder / "expected.npz")
    inputs = [expected[n].tolist() for n in ("input_ids", "decoder_input_ids") if n in expected]
    numbers = {name: np.asarray(t, np.float64) for name, t in tensors.items()}
    types = expected["token_type_ids"].tolist() if "token_type_ids" in expected else ()
    return list(model.layers(*inputs, types=types)), numbers, expected


def by_hand(pattern: np.ndarray, x: np.ndarray, W_V, b_V, W_O, head: int, kv: int, d: int):
    """|| a_ij (W_V x_j + b_V) W_O^h || one number at a time; W as torch keeps it, [out, in]."""
    result = np.zeros(pattern.shape)
    for j in range(len(x)):
        v = W_V[kv * d : (kv + 1) * d] @ x[j]
        if b_V is not None:
            v = v + b_V[kv * d : (kv + 1) * d]
        for i in range(len(pattern)):
            flows = pattern[i, j] * (W_O[:, head * d : (head + 1) * d] @ v)
            result[i, j] = sqrt(sum(part * part for part in flows))
    return result


@pytest.mark.parametrize("case", ["llama", "llama-plain"])  # with b_V, and without
def test_normed_head_with_shared_values_matches_norms_by_hand(case: str) -> None:
    layers, t, expected = run(case)
    name = "layers.1.self_attn."
    x, W_O = layers[1].attn_in.astype(np.float64), t[name + "o_proj.weight"]
    W_V, b_V = t[name + "v_proj.weight"], t.get(name + "v_proj.bias")
    assert (b_V is None) == (case == "llama-plain")
    for head, kv in ((0, 0), (1, 0), (2, 1), (3, 1)):  # four heads, two of values
        hand = by_hand(expected["attn.1"][head], x, W_V, b_V, W_O, head, kv, 8)
        result = normed_head(layers[1], head)
        np.testing.assert_allclose(result.norms, hand, rtol=0, atol=1e-4 * hand.max())
        assert result.name == f"L1H{head}"
        np.testing.assert_array_equal(result.pattern, layers[1].attn.pattern()[head])


def test_normed_head_of_encoder_includes_value_bias() -> None:
    layers, t, expected = run("bert")
    name = "encoder.layer.1.attention."
    x, W_O = layers[1].attn_in.astype(np.float64), t[name + "output.dense.weight"]
    W_V, b_V = t[name + "self.value.weight"], t[name + "self.value.bias"]
    hand = by_hand(expected["attn.1"][2], x, W_V, b_V, W_O, 2, 2, 4)
    result = normed_head(layers[1], 2).norms
    np.testing.assert_allclose(result, hand, rtol=0, atol=1e-5 * hand.max())
    # Norms differ from weights: they depend on the values of the keys too.
    weights = expected["attn.1"][2]
    assert (result.argmax(axis=1) != weights.argmax(axis=1)).any()


def test_normed_head_of_cross_attention_uses_encoder_output() -> None:
    layers, t, expected = run("t5")
    layer = next(x for x in layers if x.stack == "decoder" and x.index == 2)
    name = "decoder.block.2.layer.1.EncDecAttention."
    memory, d = layer.memory.astype(np.float64), 6
    hand = by_hand(
        expected["cross.2"][1], memory, t[name + "v.weight"], None, t[name + "o.weight"], 1, 1, d
    )
    result = normed_head(layer, 1, "cross")
    np.testing.assert_allclose(result.norms, hand, rtol=0, atol=1e-5 * hand.max())
    assert result.block == "cross"


@pytest.mark.parametrize("source", [None, "the fisherman sat on a tree"])
def test_normed_head_of_word_vectors_matches_norms_by_hand(
    tiny_glove: Path, source: str | None
) -> None:
    from qkv_cli.formats.safetensors import open_tensors

    t = open_tensors(tiny_glove / "model.safetensors")
    [layer] = load(tiny_glove).read("she sat on the bank", source).layers
    trace = layer.attn if source is None else layer.cross
    x = layer.attn_in if source is None else layer.memory
    W_V, b_V, W_O = (np.asarray(t[f"attn.{n}"]) for n in ("v.weight", "v.bias", "o.weight"))
    hand = by_hand(trace.pattern()[3], x, W_V, b_V, W_O, 3, 3, 8)
    np.testing.assert_allclose(normed_head(layer, 3).norms, hand, rtol=1e-4, atol=1e-5)
