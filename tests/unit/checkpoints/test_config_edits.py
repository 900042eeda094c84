"""Edited configs of golden checkpoints, against transformers (golden/config_edits.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.layers import apply_norm
from qkv_cli.formats.safetensors import open_tensors

GOLDEN = Path(__file__).parents[2] / "golden"
sys.path.insert(0, str(GOLDEN))
from config_edits import EDITS, LONG, edited  # noqa: E402

EXPECTED = np.load(GOLDEN / "config_edits.npz")


@pytest.mark.parametrize(
    ("i", "case", "changes"),
    [
        pytest.param(i, case, changes, id=f"{case} {changes}"[:80])
        for i, (case, changes) in enumerate(EDITS)
    ],
)
def test_build_with_edited_config_matches_transformers(
    i: int, case: str, changes: dict[str, Any]
) -> None:
    folder = GOLDEN / "checkpoints" / case
    model = build(edited(case, changes), Tensors(open_tensors(folder / "model.safetensors")))
    inputs, expected = np.load(folder / "expected.npz"), EXPECTED[str(i)]
    ids = [inputs[n].tolist() for n in ("input_ids", "decoder_input_ids") if n in inputs]
    types = inputs["token_type_ids"].tolist() if "token_type_ids" in inputs else ()
    [*_, last] = model.layers(*ids, types=types)
    result = apply_norm(model.stacks[last.stack].final_norm, last.resid_post)
    size = np.abs(expected).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5 * size)


def test_build_of_m2m_100_computes_positions_beyond_table() -> None:
    folder = GOLDEN / "checkpoints" / "m2m_100"
    model = build(edited("m2m_100", {}), Tensors(open_tensors(folder / "model.safetensors")))
    [*_, last] = model.layers(LONG, LONG[::-1])
    result, expected = (
        apply_norm(model.stacks["decoder"].final_norm, last.resid_post),
        EXPECTED["long"],
    )
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_every_config_edit_has_expected_value() -> None:
    assert {*EXPECTED.files} == {*map(str, range(len(EDITS))), "long"}
