"""Memory for the maps of one layer depends on neither the number nor the size of the layers."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core import arrays
from qkv_cli.core.arrays import Array, Packed
from qkv_cli.core.model import Model
from qkv_cli.maps.selection import Selection, select

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints" / "llama-plain"
D_MODEL, D_MLP, D_HEAD = 64, 256, 16
IDS = list(range(20))


def build_model(n_layers: int) -> tuple[Model, list[str]]:
    """A Llama whose numbers are unpacked when they are used, and the names of those that were."""
    used: list[str] = []

    def packed(name: str, *shape: int) -> Packed:
        W = np.random.default_rng(len(name)).normal(0, 0.1, shape).astype(np.float16)

        def unpack() -> Array:
            used.append(name)
            return W.astype(np.float32)

        def rows(index: Any) -> Array:
            if "layers" in name:
                used.append(name)
            return W[index].astype(np.float32)

        return Packed(shape, unpack, rows)

    shapes: dict[str, tuple[int, ...]] = {"embed_tokens": (64, D_MODEL), "norm": (D_MODEL,)}
    for i in range(n_layers):
        for name in "qkvo":
            shapes[f"layers.{i}.self_attn.{name}_proj"] = (D_MODEL, D_MODEL)
        for name in ("gate", "up"):
            shapes[f"layers.{i}.mlp.{name}_proj"] = (D_MLP, D_MODEL)
        shapes[f"layers.{i}.mlp.down_proj"] = (D_MODEL, D_MLP)
        for name in ("input", "post_attention"):
            shapes[f"layers.{i}.{name}_layernorm"] = (D_MODEL,)
    config: dict[str, Any] = json.loads((GOLDEN / "config.json").read_text())
    config |= {"hidden_size": D_MODEL, "intermediate_size": D_MLP, "head_dim": D_HEAD}
    config |= {"num_hidden_layers": n_layers, "num_key_value_heads": 4}
    tensors = {f"{name}.weight": packed(f"{name}.weight", *s) for name, s in shapes.items()}
    return build(config, Tensors(tensors)), used


def peak(n_layers: int) -> int:
    """Peak memory in bytes while the maps of the last layer are computed, without the file."""
    model, _ = build_model(n_layers)
    only = Selection([(n_layers - 1, 0)])
    select(model.layers(IDS), only)  # load imports and caches first
    tracemalloc.start()
    at_start, _ = tracemalloc.get_traced_memory()
    select(model.layers(IDS), only)
    _, at_peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return at_peak - at_start


def test_select_memory_is_below_one_layer_at_any_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_BLOCK", 2**10)
    shallow, deep = peak(4), peak(16)
    one_layer = 4 * (4 * D_MODEL**2 + 3 * D_MODEL * D_MLP)  # bytes of its matrices as float32
    assert shallow < one_layer / 2
    assert deep < shallow + one_layer / 8


@pytest.mark.parametrize("layer", [0, 2])
def test_select_does_not_read_layers_after_last_selected(layer: int) -> None:
    model, used = build_model(5)
    used.clear()
    select(model.layers(IDS), Selection([(layer, 0)]))
    assert {int(name.split(".")[1]) for name in used if "layers" in name} == set(range(layer + 1))
    assert not [name for name in used if "embed" in name]  # its rows only
