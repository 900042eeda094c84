"""The description of a model, on the golden checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qkv_cli.session.describe import describe
from qkv_cli.store.catalogue import find

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"


@pytest.mark.parametrize(
    ("case", "positions"),
    [
        ("bert", "absolute embeddings, 40 positions"),
        ("bloom", "ALiBi, a bias that decreases with distance"),
        ("llama", "rotary"),
        ("mistral", "rotary; a window of 5 tokens in every layer"),
        ("gpt_neo", "absolute embeddings, 40 positions; a window of 5 tokens in 2 layers"),
        ("t5", "a bias for each of 8 buckets of distances"),
        ("deberta-v3", "terms of q and k with relative positions"),
        ("mpnet", "absolute embeddings, 40 positions; a bias for each of 32 buckets of distances"),
    ],
)
def test_describe_states_positions_of_each_family(case: str, positions: str) -> None:
    assert describe(str(GOLDEN / case)).positions == positions


def test_describe_of_llama_counts_key_value_heads() -> None:
    result = describe(str(GOLDEN / "llama"))
    config = json.loads((GOLDEN / "llama" / "config.json").read_text())
    assert (result.info.n_heads, result.n_kv_heads) == (4, config["num_key_value_heads"])
    assert result.layers == {"decoder": 3}


def test_describe_source_of_embedded_model_is_stated(tmp_path: Path) -> None:
    assert describe("glove").source == "ships with qkv"
    assert describe(str(GOLDEN / "bert")).source == ""


def test_find_of_dot_and_dot_dot_returns_current_and_parent_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert [find(name).resolve() for name in (".", "..")] == [tmp_path / "inner", tmp_path]
