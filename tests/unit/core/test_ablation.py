"""Heads taken away: the same model as one whose W_O has zeros there, layer by layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import Ablation, LayerTrace
from qkv_cli.core.model import Model
from qkv_cli.formats.safetensors import open_tensors
from qkv_cli.session.load import load

CHECKPOINTS = Path(__file__).parents[2] / "golden" / "checkpoints"


def tensors_of(case: str) -> dict[str, np.ndarray]:
    result = open_tensors(CHECKPOINTS / case / "model.safetensors")
    return {name: np.array(tensor) for name, tensor in result.items()}


def model_of(case: str, tensors: dict[str, np.ndarray]) -> Model:
    return build(json.loads((CHECKPOINTS / case / "config.json").read_text()), Tensors(tensors))


def run(case: str, model: Model) -> list[LayerTrace]:
    expected = np.load(CHECKPOINTS / case / "expected.npz")
    inputs = [expected[n].tolist() for n in ("input_ids", "decoder_input_ids") if n in expected]
    return list(model.layers(*inputs))


# W_O as the file has it ([out, in], but gpt2's [in, out]), whose heads, and d_head.
CASES = [
    ("llama", "layers.1.self_attn.o_proj.weight", "decoder", False, 8),
    ("gpt2", "h.1.attn.c_proj.weight", "decoder", False, 4),
    ("bert", "encoder.layer.0.attention.output.dense.weight", "encoder", False, 4),
    ("gemma2", "layers.1.self_attn.o_proj.weight", "decoder", False, 8),
    ("t5", "encoder.block.0.layer.0.SelfAttention.o.weight", "encoder", False, 6),
    ("t5", "decoder.block.1.layer.0.SelfAttention.o.weight", "decoder", False, 6),
    ("t5", "decoder.block.1.layer.1.EncDecAttention.o.weight", "decoder", True, 6),
]


@pytest.mark.parametrize(("case", "name", "stack", "cross", "d_head"), CASES)
def test_ablate_equals_model_with_zeros_in_W_O(
    case: str, name: str, stack: str, cross: bool, d_head: int
) -> None:
    tensors = tensors_of(case)
    at = next(int(part) for part in name.split(".") if part.isdigit())
    whole = run(case, model_of(case, tensors))
    ablation = Ablation(stack, cross, {at: [1, 2]})
    result = run(case, model_of(case, tensors).ablate(ablation))
    columns = slice(d_head, 3 * d_head)
    if case == "gpt2":
        tensors[name][columns] = 0
    else:
        tensors[name][:, columns] = 0
    expected = run(case, model_of(case, tensors))
    behind = False
    for a, b, c in zip(result, expected, whole, strict=True):
        for attention in ("attn", "cross"):
            one, other, before = (getattr(x, attention) for x in (a, b, c))
            if one is None:
                continue
            np.testing.assert_array_equal(one.pattern(), other.pattern())
            np.testing.assert_array_equal(one.z, other.z)  # also of the heads that are taken away
            here = (a.stack, a.index, attention == "cross") == (stack, at, cross)
            # A decoder has read nothing of the encoder before its first cross-attention.
            apart = (stack, a.stack, a.index, attention) == ("encoder", "decoder", 0, "attn")
            changed = not np.array_equal(one.pattern(), before.pattern())
            assert changed == (behind and not apart), (a.stack, a.index, attention)
            behind = behind or here
        np.testing.assert_array_equal(a.resid_post, b.resid_post)
    assert behind


@pytest.mark.parametrize("mean", [False, True])
def test_ablate_with_zero_or_mean_matches_output_computed_by_hand(mean: bool) -> None:
    case = "gpt2"
    tensors = tensors_of(case)
    model = model_of(case, tensors).ablate(Ablation("decoder", False, {1: [3]}, mean))
    layer = run(case, model)[1]
    z = layer.attn.z.astype(np.float64)
    rows = []
    for i in range(z.shape[1]):
        last = sum(z[3, k] for k in range(z.shape[1])) / z.shape[1] if mean else np.zeros(4)
        rows.append(np.concatenate([z[0, i], z[1, i], z[2, i], last]))
    out = np.array(rows) @ tensors["h.1.attn.c_proj.weight"] + tensors["h.1.attn.c_proj.bias"]
    np.testing.assert_allclose(layer.resid_mid - layer.resid_pre, out, atol=1e-5)


def test_ablate_of_cross_attention_keeps_pattern_and_leaves_only_bias(tiny_glove: Path) -> None:
    loaded = load(tiny_glove)
    run = loaded.read("she sat on the bank", "a river")
    tokens = loaded.tokenize("she sat on the bank", "a river")
    ablated = loaded.run(tokens, ablated_heads={0: [0, 1, 2, 3]})
    assert (ablated.model.ablation.stack, ablated.model.ablation.cross) == ("decoder", True)
    [layer] = ablated.layers
    moved = layer.resid_mid - layer.resid_pre
    np.testing.assert_allclose(moved, moved[:1].repeat(5, axis=0), atol=1e-5)  # b_O alone
    [whole] = run.layers
    np.testing.assert_array_equal(layer.cross.pattern(), whole.cross.pattern())
