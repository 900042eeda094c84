"""Rollout against a few lines of arithmetic, on the patterns that transformers computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_heads import INFO

from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.errors import UsageError
from qkv_cli.formats.safetensors import open_tensors
from qkv_cli.maps.flow import rollout, rollouts, with_rollout
from qkv_cli.maps.head_maps import HeadMap, HeadMaps

CHECKPOINTS = Path(__file__).parents[2] / "golden" / "checkpoints"


def by_hand(patterns: list[np.ndarray]) -> np.ndarray:
    """Abnar and Zuidema 2020, equation 1 with heads averaged, a number at a time."""
    n = patterns[0].shape[1]
    joint = np.eye(n)
    for layer in patterns:
        mixed = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                mean = sum(float(head[i, j]) for head in layer) / len(layer)
                mixed[i, j] = 0.5 * mean + (0.5 if i == j else 0.0)
            mixed[i] /= sum(mixed[i])
        joint = np.array([[sum(mixed[i] * joint[:, j]) for j in range(n)] for i in range(n)])
    return joint


@pytest.mark.parametrize("case", ["bert", "llama", "gpt2"])
def test_rollouts_equal_product_of_mixed_patterns_from_first_layer(case: str) -> None:
    folder = CHECKPOINTS / case
    tensors = Tensors(open_tensors(folder / "model.safetensors"))
    model = build(json.loads((folder / "config.json").read_text()), tensors)
    expected = np.load(folder / "expected.npz")
    n_layers = sum(name.startswith("attn.") for name in expected.files)
    patterns = [expected[f"attn.{i}"] for i in range(n_layers)]
    types = expected["token_type_ids"].tolist() if "token_type_ids" in expected else ()
    layers = model.layers(expected["input_ids"].tolist(), types=types)
    result = rollouts(layers, range(n_layers), "self")
    assert [(m.name, m.layer, m.head) for m in result] == [
        (f"L{i} rollout", i, None) for i in range(n_layers)
    ]
    for i, m in enumerate(result):
        np.testing.assert_allclose(m.rollout, by_hand(patterns[: i + 1]), rtol=0, atol=2e-6)
        np.testing.assert_allclose(m.pattern, patterns[i].mean(axis=0), rtol=0, atol=1e-5)
        np.testing.assert_allclose(m.rollout.sum(axis=1), 1, atol=1e-5)


def test_rollouts_of_one_layer_include_earlier_layers_in_product() -> None:
    folder = CHECKPOINTS / "llama"
    tensors = Tensors(open_tensors(folder / "model.safetensors"))
    model = build(json.loads((folder / "config.json").read_text()), tensors)
    ids = [5, 9, 13]
    every = rollouts(model.layers(ids), range(3), "self")
    [second] = rollouts(model.layers(ids), [1], "self")
    np.testing.assert_array_equal(second.rollout, every[1].rollout)


def test_rollout_of_zero_pattern_is_identity() -> None:
    result = rollout(np.zeros((3, 3), np.float32), None)
    np.testing.assert_array_equal(result, np.eye(3))


def maps(n_layers: int = 2) -> HeadMaps:
    rng = np.random.default_rng(0)
    info = replace(INFO, n_layers=n_layers, n_heads=2)
    heads = [
        HeadMap(f"L{i}H{h}", "encoder", i, h, rng.dirichlet(np.ones(3), 3))
        for i in range(n_layers)
        for h in range(2)
    ]
    return HeadMaps(info, "softmax", False, "a b c", None, (), (), heads)


def test_with_rollout_of_stored_maps_matches_reference() -> None:
    file_maps = maps()
    result = with_rollout(file_maps)
    patterns = [np.stack([m.pattern for m in file_maps.maps[i : i + 2]]) for i in (0, 2)]
    np.testing.assert_allclose(result.maps[1].rollout, by_hand(patterns), atol=1e-12)
    assert (result.shown, result.maps[1].name, result.maps[1].block) == (
        "rollout",
        "L1 rollout",
        "encoder",
    )


def test_with_rollout_mask_covers_reachable_tokens() -> None:
    """Two layers of window two reach two tokens back; the diagonal is always included."""
    window = np.tril(np.ones((4, 4), bool)) & ~np.tril(np.ones((4, 4), bool), -2)
    heads = [
        HeadMap(f"L{i}H0", "self", i, 0, window / window.sum(axis=1)[:, None], mask=window)
        for i in (0, 1)
    ]
    info = replace(INFO, n_layers=2, n_heads=1)
    result = with_rollout(HeadMaps(info, "softmax", True, "a b c d", None, (), (), heads))
    assert result.maps[0].mask.tolist() == window.tolist()
    assert (result.maps[1].mask == (result.maps[1].rollout > 0)).all()
    assert result.maps[1].mask.sum(axis=1).tolist() == [1, 2, 3, 3]
    no_self = ~np.eye(2, dtype=bool)
    head = HeadMap("L0H0", "self", 0, 0, no_self.astype(float), mask=no_self)
    info = replace(INFO, n_layers=1, n_heads=1)
    [alone] = with_rollout(HeadMaps(info, "softmax", False, "a b", None, (), (), [head])).maps
    assert alone.mask.all() and alone.rollout.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_with_rollout_of_incomplete_cross_or_linear_maps_raises_usage_error() -> None:
    complete = maps()
    with pytest.raises(UsageError, match="L0H1 is missing"):
        with_rollout(replace(complete, maps=[complete.maps[0], *complete.maps[2:]]))
    with pytest.raises(UsageError, match="not apply to cross-attention"):
        with_rollout(replace(complete, source="x"))
    with pytest.raises(UsageError, match="not apply to linear weights"):
        with_rollout(replace(complete, weighting="linear"))
