"""A tiny GGUF file, written by the library, read as the same checkpoint in safetensors."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from qkv_cli.errors import CheckpointError, QkvError  # noqa: E402
from qkv_cli.formats.gguf import FAMILIES, dequantize, settings_of  # noqa: E402
from qkv_cli.formats.gguf_header import read_gguf  # noqa: E402
from qkv_cli.formats.safetensors import open_tensors  # noqa: E402
from qkv_cli.session.describe import describe  # noqa: E402
from qkv_cli.session.load import load  # noqa: E402
from qkv_cli.store.catalogue import find  # noqa: E402

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
GEMMA = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
CASES = [
    "llama-plain",
    "llama-linear",
    "llama-yarn",
    "llama-llama3",
    "qwen2-plain",
    "qwen3",
    "gemma",
    "gemma2-published",
    "gemma3-published",
]
BYTES = [*"abcdefghijklmnopqrstuvwxyz", "Ġ"]


def permuted(W: np.ndarray, n_heads: int) -> np.ndarray:
    """As llama.cpp's converter orders the rows of queries and keys."""
    half = W.shape[0] // n_heads // 2
    return W.reshape(n_heads, 2, half, *W.shape[1:]).swapaxes(1, 2).reshape(W.shape)


def called(name: str, kind: str) -> str:
    """A tensor's name in such a file."""
    parts = name.removeprefix("model.").split(".")
    if parts[0] != "layers":
        return {"embed_tokens": "token_embd", "norm": "output_norm"}[parts[0]] + ".weight"
    names = NAMES | (GEMMA if kind in ("gemma2", "gemma3") else {})
    return f"blk.{parts[1]}.{names['.'.join(parts[2:-1])]}.{parts[-1]}"


def add_rope(writer: Any, config: dict[str, Any]) -> None:
    settings = config["rope_parameters"]
    settings = settings.get("full_attention", settings)
    writer.add_rope_freq_base(settings["rope_theta"])
    if (kind := settings["rope_type"]) in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(settings["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(settings["original_max_position_embeddings"])
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", stretch(settings, config["head_dim"]))


def stretch(settings: dict[str, Any], d_head: int) -> np.ndarray:
    """The frequency factors that llama.cpp's converter computes for Llama 3.1."""
    n_known, factors = settings["original_max_position_embeddings"], []
    low, high = (n_known / settings[f"{which}_freq_factor"] for which in ("low", "high"))
    for i in range(0, d_head, 2):
        wavelength = 2 * np.pi * settings["rope_theta"] ** (i / d_head)
        smooth = (n_known / wavelength - 1) / (settings["high_freq_factor"] - 1)
        between = 1 / ((1 - smooth) / settings["factor"] + smooth)
        factors.append(
            1 if wavelength < high else settings["factor"] if wavelength > low else between
        )
    return np.array(factors, np.float32)


def write(
    path: Path,
    case: str,
    *,
    extra: tuple[str, Any] | None = None,
    as_int8: str = "",
    part_tensors: int = 0,
    nan: str | None = None,
    **how: Any,
) -> None:
    """Write a checkpoint as the library would.

    Args:
        extra: A setting besides its own.
        as_int8: A tensor whose numbers are stored as whole ones.
        part_tensors: How many tensors each part holds, if the file is to be split.
        nan: A tensor of which every number becomes NaN.
    """
    config = json.loads((GOLDEN / case / "config.json").read_text())
    kind = config["model_type"].removesuffix("_text")
    writer = gguf.GGUFWriter(path, kind, split_max_tensors=part_tensors, **how)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_context_length(config["max_position_embeddings"])
    if kind in ("gemma2", "gemma3"):
        writer.add_sliding_window(config["sliding_window"])
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    add_rope(writer, config)
    if extra is not None:
        writer.add_float32(*extra)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    pieces = ["<s>", *BYTES, "th", "the"]
    writer.add_token_list([*pieces, *(f"<spare{i}>" for i in range(64 - len(pieces)))])
    writer.add_token_types([3, *[1] * 63])
    writer.add_token_merges(["t h", "th e"])
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name, stored in open_tensors(GOLDEN / case / "model.safetensors").items():
        new, tensor = called(name, kind), np.asarray(stored)
        tensor = tensor * np.float32(np.nan) if name == nan else tensor
        if kind == "llama" and (part := new.split(".")[-2]) in heads:
            tensor = permuted(tensor, heads[part])
        if kind.startswith("gemma") and new.endswith("norm.weight"):
            tensor = tensor + 1
        tensor = tensor.astype(np.int8) if new == as_int8 else np.ascontiguousarray(tensor)
        writer.add_tensor(new, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def assert_golden(path: Path, case: str) -> None:
    expected = np.load(GOLDEN / case / "expected.npz")
    for layer in load(path).model.layers(expected["input_ids"].tolist()):
        assert layer.attn is not None
        wanted = expected[f"attn.{layer.index}"]
        np.testing.assert_allclose(layer.attn.pattern(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_load_of_gguf_gives_same_patterns_as_safetensors(tmp_path: Path, case: str) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, case)
    assert_golden(path, case)
    assert load(path).info.name == "tiny"
    assert load(tmp_path).info.n_heads == 4  # the one such file of a folder


def test_gguf_model_with_nan_names_tensor_as_in_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, CASES[0], nan="layers.1.self_attn.k_proj.weight")
    with pytest.raises(
        CheckpointError, match=r"^L1H0 contains NaN or infinity because tensor 'blk\.1\.attn_k\."
    ):
        [*load(path).model.layers([1, 2, 3])]


def test_load_of_gguf_reads_its_tokenizer(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3")
    tokens = load(tmp_path).tokenizer.encode("the thee<s>")
    assert [t.token for t in tokens] == ["the", "Ġ", "the", "e", "<s>"]


def test_load_of_gguf_with_unread_setting_names_it(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3", extra=("qwen3.attention.clamp_kqv", 2.0))
    with pytest.raises(CheckpointError, match=r"sets qwen3\.attention\.clamp_kqv, which is not"):
        load(tmp_path)


def test_load_of_gguf_of_other_family_or_damaged_raises_checkpoint_error(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("n_layers", "d_model", "n_heads", "scalar"),
    [(46, 4608, 32, 144), (42, 3584, 16, 128)],  # Gemma 2 27B and 9B
)
def test_settings_of_gemma2_scale_queries_as_published_for_each_size(
    n_layers: int, d_model: int, n_heads: int, scalar: int
) -> None:
    sizes = {
        "block_count": n_layers,
        "embedding_length": d_model,
        "attention.head_count": n_heads,
        "attention.key_length": 128,
    }
    fields = {f"gemma2.{name}": size for name, size in sizes.items()}
    config = settings_of(fields, "gemma2", FAMILIES["gemma2"])
    assert config["query_pre_attn_scalar"] == scalar


def test_load_of_gguf_with_any_byte_changed_loads_or_raises_one_line_error(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, "gemma3-published")
    data = path.read_bytes()
    for at in range(0, 3000, 23):
        path.write_bytes(data[:at] + b"\x7b" + data[at + 1 :])
        try:
            loaded = load(path)
            for _ in loaded.read("the the").layers:
                pass
        except QkvError as refusal:
            assert "\n" not in str(refusal)


def test_read_gguf_gives_same_settings_and_bytes_as_library(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "gemma3-published")
    library_reader = gguf.GGUFReader(tmp_path / "tiny.gguf")
    settings, tensors = read_gguf(tmp_path / "tiny.gguf", lambda kind, n: 4 * n)
    library_settings = {name: field.contents() for name, field in library_reader.fields.items()}
    assert settings == {n: v for n, v in library_settings.items() if not n.startswith("GGUF.")}
    for tensor, expected_tensor in zip(tensors, library_reader.tensors, strict=True):
        assert (tensor.name, tensor.kind) == (expected_tensor.name, expected_tensor.tensor_type)
        assert tensor.shape == tuple(expected_tensor.shape[::-1].tolist())
        assert tensor.data.tobytes() == expected_tensor.data.tobytes()


def test_dequantize_of_selected_rows_matches_library(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    W = rng.normal(size=(24, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q4_1
    packed = gguf.quantize(W, kind)
    expected = gguf.dequantize(packed, kind)
    for rows in (slice(None), slice(3, 10), np.array([23, 0])):
        np.testing.assert_array_equal(dequantize(packed[rows], kind.value), expected[rows])


def test_load_of_truncated_gguf_raises_checkpoint_error(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3")
    data = (tmp_path / "tiny.gguf").read_bytes()
    for length in range(0, len(data) - 32, 97):
        (tmp_path / "cut.gguf").write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="is truncated or corrupt"):
            load(tmp_path / "cut.gguf")


def test_load_of_gguf_truncated_in_last_tensor_names_tensor(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, "qwen3")
    *_, last = gguf.GGUFReader(path).tensors
    path.write_bytes(path.read_bytes()[: last.data_offset + 4])
    with pytest.raises(CheckpointError, match=rf"tensor '{last.name}' ends at byte .* truncated"):
        load(path)


@pytest.mark.parametrize("part_tensors", [1, 7, 29])
def test_load_of_any_part_of_split_gguf_gives_same_patterns(
    tmp_path: Path, part_tensors: int
) -> None:
    write(tmp_path / "tiny.gguf", "llama-llama3", part_tensors=part_tensors)
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 1
    for path in (*parts[:2], parts[-1], tmp_path):
        assert_golden(path, "llama-llama3")
        assert load(path).info.name == "tiny"
    tokens = load(parts[-1]).tokenizer.encode("the")
    assert [t.token for t in tokens] == ["the"]
    result = describe(str(parts[-1]))
    assert list(result.checksums()) == [part.name for part in parts]
    assert result.n_bytes == sum(part.stat().st_size for part in parts)


def test_load_of_split_gguf_with_missing_part_names_it(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3", part_tensors=10)
    (tmp_path / "tiny-00002-of-00004.gguf").unlink()
    message = r"is part \d of 4 of a split model; part 2, tiny-00002-of-00004\.gguf, is missing"
    for path in (tmp_path, *tmp_path.iterdir()):
        with pytest.raises(CheckpointError, match=message):
            load(path)


def test_load_of_renamed_part_of_split_gguf_suggests_merging(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3", part_tensors=10)
    (tmp_path / "tiny-00003-of-00004.gguf").rename(tmp_path / "blob")
    with pytest.raises(CheckpointError, match=r"part 3 of 4 .* llama-gguf-split --merge"):
        load(tmp_path / "blob")


def test_load_of_split_gguf_with_parts_of_two_models_raises_checkpoint_error(
    tmp_path: Path,
) -> None:
    write(tmp_path / "tiny.gguf", "qwen3", part_tensors=10)
    first, second, *_ = sorted(tmp_path.iterdir())
    data = second.read_bytes()
    second.write_bytes(first.read_bytes())
    with pytest.raises(
        CheckpointError, match=r"00002-of-00004\.gguf has split.no .*expected 1 and 4"
    ):
        load(first)
    # The number of all tensors stands after its key and type, 4 bytes each; also of one name.
    key = b"split.tensors.count"
    at = data.index(key) + len(key) + 4
    second.write_bytes(data[:at] + (99).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(
        CheckpointError, match=r"contain 35 different tensors; .*tiny-00002.* is 99"
    ):
        load(first)


def test_load_of_gguf_with_split_count_0_reads_single_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny-00001-of-00002.gguf"
    write(path, "qwen3", extra=("split.count", 0.0))
    data = path.read_bytes()
    at = data.index(b"split.count") + len(b"split.count")
    path.write_bytes(data[:at] + (4).to_bytes(4, "little") + bytes(4) + data[at + 8 :])
    assert_golden(path, "qwen3")


def test_load_of_gguf_without_suffix_recognises_magic_bytes(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3")
    blob = (tmp_path / "tiny.gguf").rename(tmp_path / "sha256-0a1b")
    (tmp_path / "README.md").write_text("not a model")
    for path in (blob, tmp_path, find(str(blob))):
        assert_golden(path, "qwen3")
    assert list(describe(str(tmp_path)).checksums()) == ["sha256-0a1b"]


@pytest.mark.parametrize(
    ("version", "message"), [(1, "of version 1"), (4, "of version 4"), (2**24, "is a big-endian")]
)
def test_load_of_gguf_with_unsupported_version_names_it(
    tmp_path: Path, version: int, message: str
) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, "qwen3")
    data = path.read_bytes()
    path.write_bytes(data[:4] + version.to_bytes(4, "little") + data[8:])
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_load_of_big_endian_gguf_raises_checkpoint_error(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3", endianess=gguf.GGUFEndian.BIG)
    with pytest.raises(CheckpointError, match="is a big-endian GGUF file"):
        load(tmp_path)


def test_load_of_gguf_with_weight_of_unsupported_type_names_tensor(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen3", as_int8="blk.1.attn_v.weight")
    with pytest.raises(CheckpointError, match=r"dequantize tensor 'blk\.1\.attn_v\.weight'.*I8"):
        deque(load(tmp_path).read("the").layers, 0)


def test_dequantize_of_vector_matches_library() -> None:
    packed = gguf.quantize(np.linspace(-1, 1, 64, dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
    expected = gguf.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(
        dequantize(packed, gguf.GGMLQuantizationType.Q8_0.value), expected
    )
