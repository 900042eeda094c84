"""A tiny GGUF file, written by the library, read as the same checkpoint in safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from qkv_cli.errors import CheckpointError  # noqa: E402
from qkv_cli.formats.safetensors import open_tensors  # noqa: E402
from qkv_cli.loading import load  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
BYTES = [*"abcdefghijklmnopqrstuvwxyz", "Ġ"]


def permuted(W: np.ndarray, n_heads: int) -> np.ndarray:
    """As llama.cpp's converter orders the rows of queries and keys."""
    half = W.shape[0] // n_heads // 2
    return W.reshape(n_heads, 2, half, *W.shape[1:]).swapaxes(1, 2).reshape(W.shape)


def write(path: Path, case: str, *, extra: tuple[str, Any] | None = None) -> None:
    config = json.loads((GOLDEN / case / "config.json").read_text())
    kind = config["model_type"]
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_context_length(config["max_position_embeddings"])
    if extra is not None:
        writer.add_float32(*extra)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    pieces = ["<s>", *BYTES, "th", "the"]
    writer.add_token_list([*pieces, *(f"<spare{i}>" for i in range(64 - len(pieces)))])
    writer.add_token_types([3, *[1] * 63])
    writer.add_token_merges(["t h", "th e"])
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name, tensor in open_tensors(GOLDEN / case / "model.safetensors").items():
        short = name.removeprefix("model.")
        parts = short.split(".")
        if parts[0] == "layers":
            stem, end = ".".join(parts[2:-1]), parts[-1]
            called = f"blk.{parts[1]}.{NAMES[stem]}.{end}"
            if kind == "llama" and NAMES[stem] in heads:
                tensor = permuted(np.asarray(tensor), heads[NAMES[stem]])
        else:
            called = {"embed_tokens": "token_embd", "norm": "output_norm"}[parts[0]] + ".weight"
        writer.add_tensor(called, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("case", ["llama-plain", "qwen3"])
def test_the_same_numbers_as_its_safetensors(tmp_path: Path, case: str) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, case)
    loaded = load(path)
    expected = np.load(GOLDEN / case / "expected.npz")
    for layer in loaded.model.layers(expected["input_ids"].tolist()):
        assert layer.attn is not None
        wanted = expected[f"attn.{layer.index}"]
        np.testing.assert_allclose(layer.attn.pattern, wanted, rtol=0, atol=1e-5)
    assert loaded.info.name == "tiny"
    assert load(tmp_path).info.n_heads == 4  # the one such file of a folder


def test_its_tokenizer(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3")
    tokens = load(tmp_path).tokenizer.encode("the thee<s>")
    assert [t.token for t in tokens] == ["the", "Ġ", "the", "e", "<s>"]


def test_a_setting_that_nothing_reads(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3", extra=("qwen3.rope.scaling.factor", 2.0))
    with pytest.raises(CheckpointError, match=r"nothing reads: qwen3\.rope\.scaling\.factor"):
        load(tmp_path)


def test_other_families_and_broken_files(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match="'mamba'"):
        load(tmp_path / "other.gguf")
    (tmp_path / "other.gguf").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(CheckpointError):
        load(tmp_path / "other.gguf")
