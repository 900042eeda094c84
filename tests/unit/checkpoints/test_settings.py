"""Every setting of transformers' classes is read, refused, or ignored with a reason."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkv_cli.checkpoints.adapters import adapter_of, build
from qkv_cli.checkpoints.config import IGNORED, Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.safetensors import open_tensors

GOLDEN = Path(__file__).parents[2] / "golden"
SETTINGS: dict[str, list[str]] = json.loads((GOLDEN / "settings.json").read_text())["settings"]
CASES = sorted(path.parent for path in (GOLDEN / "checkpoints").glob("*/expected.npz"))
ANYWHERE = {name for names in IGNORED.values() for name in names}


def config_of(case: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((GOLDEN / "checkpoints" / case / "config.json").read_text())
    return result


def tensors_of(case: str) -> Tensors:
    return Tensors(open_tensors(GOLDEN / "checkpoints" / case / "model.safetensors"))


def read_by(config: Config) -> set[str]:
    return config.names_read.union(*map(read_by, config.parts))


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_adapter_reads_or_ignores_every_setting_of_family(kind: str) -> None:
    read = set[str]()
    for folder in CASES:
        config = Config(config_of(folder.name))
        if config.values["model_type"] != kind:
            continue
        model = adapter_of(kind)(config, tensors_of(folder.name).without_numbers())
        for stack in model.stacks.values():
            deque(stack.blocks, 0)
        read |= read_by(config)
    assert sorted(set(SETTINGS[kind]) - read - ANYWHERE) == []


def test_build_with_unknown_setting_adds_note() -> None:
    """transformers keeps unknown settings as attributes that no code reads."""
    notes: list[str] = []
    config = config_of("bert") | {"twist": 1, "sentence_transformers": {"version": "5.1"}}
    build(config, tensors_of("bert"), notes.append)
    assert len(notes) == 1 and notes[0].endswith("are ignored: twist.")


def test_build_with_unknown_rope_setting_names_it_in_note() -> None:
    notes: list[str] = []
    rope = config_of("llama-yarn")["rope_parameters"] | {"twist": 1, "finetuned": True}
    build(
        config_of("llama-yarn") | {"rope_parameters": rope}, tensors_of("llama-yarn"), notes.append
    )
    assert [note.split(": ")[-1] for note in notes] == ["twist."]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_build_with_config_written_by_transformers_adds_no_note(folder: Path) -> None:
    notes: list[str] = []
    build(config_of(folder.name), tensors_of(folder.name), notes.append)
    assert notes == []


def test_build_with_harmless_settings_adds_no_note() -> None:
    harmless = {"xla_device": True, "neftune_noise_alpha": 5, "adapters": {}, "loss_type": "x"}
    harmless |= {"_flash_attn_2_enabled": True, "sentence_transformers": {"activation_fn": "x"}}
    notes: list[str] = []
    build(config_of("bert") | harmless, tensors_of("bert"), notes.append)
    assert notes == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pruned_heads": {"0": [], "1": [0]}}, r"pruned_heads .*: pruning heads"),
        ({"per_layer_config": {"0": {}}}, "per_layer_config"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized by gptq"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantized by awq"),
        ({"quantization_config": {"load_in_8bit": True}}, "quantized by an unknown method"),
        ({"hidden_size": "16"}, r"hidden_size to '16'; expected a whole number, 1 or more\.$"),
        ({"hidden_size": 16.0}, r"hidden_size to 16\.0; expected a whole number"),
        ({"hidden_size": True}, "hidden_size to true; expected a whole number"),
        (
            {"num_hidden_layers": 10**9},
            r"num_hidden_layers to 1000000000; expected a whole number from 1 to 10,000\.$",
        ),
        ({"num_hidden_layers": 3}, r"implies 3 layers, .* no tensor encoder\.layer\.2\.\*"),
        ({"num_attention_heads": 32}, r"32 attention heads, more than .* \(16\)"),
        ({"num_attention_heads": 3}, r"query\.weight' has shape \[16, 16\].* \[15, 16\]"),
        ({"layer_norm_eps": None}, "layer_norm_eps to null; expected a finite number"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps to nan; expected a finite number"),
        ({"layer_norm_eps": -1.0}, r"layer_norm_eps to -1\.0; expected a number, 0 or more"),
        ({"vocab_size": 63}, r"word_embeddings.* \[64, 16\].* \[63, 16\]"),
        ({"intermediate_size": 25}, r"intermediate\.dense.* \[24, 16\].* \[25, 16\]"),
    ],
)
def test_build_with_wrong_value_names_setting(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        build(config_of("bert") | changed, tensors_of("bert"))


def test_build_with_gptq_or_awq_tensors_without_config_names_method() -> None:
    name = "encoder.layer.0.attention.self.query"
    tensors = dict(tensors_of("bert").by_name)
    del tensors[f"{name}.weight"]
    tensors |= {f"{name}.qweight": np.zeros((2, 16), np.int32), f"{name}.scales": np.ones((1, 16))}
    with pytest.raises(CheckpointError, match=rf"{name}\.qweight' instead of .* by GPTQ or AWQ"):
        build(config_of("bert"), Tensors(tensors))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_build_with_integer_weights_without_scales_names_tensor(dtype: str) -> None:
    tensors, name = dict(tensors_of("bert").by_name), "encoder.layer.1.output.dense.weight"
    tensors[name] = (np.asarray(tensors[name]) * 50).astype(dtype)
    with pytest.raises(CheckpointError, match=rf"{name}' has dtype {dtype};"):
        build(config_of("bert"), Tensors(tensors))


@pytest.mark.parametrize(
    ("case", "name", "value", "message"),
    [
        ("llama-yarn", "beta_fast", -16.0, "a number between"),
        ("llama-yarn", "beta_slow", 5e-324, "a number between"),
        ("llama-yarn", "beta_slow", 1e308, "a number between"),
        ("llama-yarn", "factor", 1e300, "at most 1,000,000,000"),
        ("phi", "partial_rotary_factor", 1e308, "dimensions of a head"),
        ("llama-longrope", "original_max_position_embeddings", 1, "2 or more"),
    ],
)
def test_build_with_extreme_rope_setting_raises_checkpoint_error(
    case: str, name: str, value: float, message: str
) -> None:
    config = config_of(case)
    rope = config["rope_parameters"] | {name: value}
    config |= {"rope_parameters": rope} | ({name: value} if name in config else {})
    with pytest.raises(CheckpointError, match=message):
        build(config, tensors_of(case), lambda note: None)
