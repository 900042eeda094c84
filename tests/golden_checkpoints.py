"""The checkpoints of tests/golden, with the numbers that transformers computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.formats.safetensors import open_tensors

GOLDEN = Path(__file__).parent / "golden" / "checkpoints"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/expected.npz"))


def config_of(case: str, name: str = "config.json") -> dict[str, Any]:
    config: dict[str, Any] = json.loads((GOLDEN / case / name).read_text())
    return config


def tensors_of(case: str) -> Tensors:
    return Tensors(open_tensors(GOLDEN / case / "model.safetensors"))
