"""GGUF files: a model's config, its tensors and its tokenizer in one file, often quantised.

Tensors are unpacked by the `gguf` library, an extra: pip install 'qkv-cli[gguf]'. Settings and
tensors get the names of Hugging Face checkpoints, so the same adapters read them.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from qkv_cli.core.arrays import Array, Packed
from qkv_cli.errors import CheckpointError, StoreError
from qkv_cli.formats.gguf_header import StoredTensor, read_gguf
from qkv_cli.formats.gguf_parts import every_part
from qkv_cli.formats.tokenizers.gguf import build_tokenizer


@dataclass(frozen=True, slots=True)
class Family:
    """How the GGUF files of a family differ from its checkpoints."""

    model_type: str
    settings: Mapping[str, Any]  # settings that the files omit
    keys: Mapping[str, str] = field(default_factory=dict)  # in addition to those of all families
    names: Mapping[str, str] = field(default_factory=dict)
    is_permuted: bool = False  # rows of q and k are in the order of the other rotary layout
    norm_offset: float = 0.0  # which the converter added to the weights of norms
    n_layers_of_largest: int | None = None  # its scores are scaled by d_model / n_heads


# How llama.cpp's converter changes Gemma, and what llama.cpp assumes.
_GEMMA_KEYS = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "rope.freq_base_swa": "rope_local_base_freq",
}
_GEMMA_NAMES = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_SILU = {"hidden_act": "silu"}
_GELU = {"hidden_activation": "gelu_pytorch_tanh"}
FAMILIES = {
    "llama": Family("llama", _SILU, is_permuted=True),
    "qwen2": Family("qwen2", _SILU),
    "qwen3": Family("qwen3", _SILU),
    "gemma": Family("gemma", _GELU, norm_offset=1.0),
    "gemma2": Family(
        model_type="gemma2",
        settings=_GELU,
        keys=_GEMMA_KEYS,
        names=_GEMMA_NAMES,
        norm_offset=1.0,
        n_layers_of_largest=46,
    ),
    "gemma3": Family(
        model_type="gemma3_text",
        settings=_GELU,
        keys=_GEMMA_KEYS,
        names=_GEMMA_NAMES,
        norm_offset=1.0,
        n_layers_of_largest=62,
    ),
}
# The key after "llama." or another prefix, and the name in configs.
_SETTINGS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "rope.freq_base": "rope_theta",
    "context_length": "max_position_embeddings",
}
_SCALING = {
    "rope.scaling.type": "rope_type",
    "rope.scaling.factor": "factor",
    "rope.scaling.original_context_length": "original_max_position_embeddings",
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
}
# Redundant settings, and settings without effect at inference.
_IGNORED = (
    "vocab_size",
    "rope.dimension_count",
    "rope.scaling.finetuned",
    "attention.value_length",
    "expert_count",
    "expert_used_count",
)
_FUSED_ROWS = 8  # rows that are dequantized as one
_FREQ_FACTORS = "rope_freqs.weight"  # the precomputed factor of each frequency
_NAMES = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True, slots=True)
class GgufModel:
    """The contents of a GGUF file, with the names of a Hugging Face checkpoint."""

    config: dict[str, Any]
    tensors: dict[str, Packed]
    tokenizer: Tokenizer
    name: str


def open_gguf(path: Path) -> GgufModel:
    """Open a file; tensors are unpacked when they are used.

    Raises:
        StoreError: The `gguf` library is not installed.
        CheckpointError: The file is corrupt, or its family or tokenizer is not supported.
    """
    try:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError as error:
        raise StoreError(
            f"Reading {path.name} needs the gguf library: pip install 'qkv-cli[gguf]' (in a "
            "clone: pip install '.[gguf]')."
        ) from error

    def row_bytes(kind: int, n: int) -> int:
        if kind not in (type_.value for type_ in GGMLQuantizationType):
            raise ValueError(f"has type {kind}, which the gguf library does not know")
        numbers, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if n % numbers:
            raise ValueError(f"has rows of {n} numbers; expected a multiple of {numbers}")
        return int(n // numbers * size)

    return _build_model(path, *_read_parts(path, row_bytes))


def _read_parts(
    path: Path, row_bytes: Callable[[int, int], int]
) -> tuple[dict[str, Any], list[StoredTensor]]:
    """Read the settings and tensors of a file, or of all parts of a split file.

    Raises:
        CheckpointError: A part is missing, corrupt, or of another model.
    """
    fields, tensors = _read_file(path, row_bytes)
    no, count = (fields.get(f"split.{name}", 0) for name in ("no", "count"))
    if not all(type(n) is int for n in (no, count)):
        raise CheckpointError(
            f"{path} has split.no {no!r:.40} and split.count {count!r:.40}; expected whole numbers."
        )
    if count < 2:  # 0 after a merge
        return fields, tensors
    parts = every_part(path, no, count)
    contents = [
        (fields, tensors) if part == path else _read_file(part, row_bytes) for part in parts
    ]
    all_tensors = [tensor for _, of_part in contents for tensor in of_part]
    n_names = len({tensor.name for tensor in all_tensors})  # a tensor must not be in two parts
    for i, (part, (settings, _)) in enumerate(zip(parts, contents, strict=True)):
        if (settings.get("split.no"), settings.get("split.count")) != (i, count):
            raise CheckpointError(
                f"{part} has split.no {settings.get('split.no')!r:.40} and split.count "
                f"{settings.get('split.count')!r:.40}; expected {i} and {count}."
            )
    for part, (settings, _) in zip(parts, contents, strict=True):
        n_stated = settings.get("split.tensors.count", len(all_tensors))
        if n_stated != len(all_tensors) or n_names < len(all_tensors):
            raise CheckpointError(
                f"The {count} parts of the model of {path} contain {n_names} different tensors; "
                f"split.tensors.count of {part.name} is {n_stated!r:.60}."
            )
    return contents[0][0], all_tensors


def _read_file(
    path: Path, row_bytes: Callable[[int, int], int]
) -> tuple[dict[str, Any], list[StoredTensor]]:
    try:
        return read_gguf(path, row_bytes)
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
    except (OverflowError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(
            f"{path} is not a GGUF file, or it is truncated or corrupt: {reason}."
        ) from error


def _build_model(
    path: Path, fields: dict[str, Any], stored_tensors: Sequence[StoredTensor]
) -> GgufModel:
    kind = fields.get("general.architecture")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise CheckpointError(
            f"{path}: general.architecture is {kind!r:.40}, which is not implemented; "
            f"implemented: {', '.join(FAMILIES)}."
        )
    family = FAMILIES[kind]
    config = settings_of(fields, kind, family)
    tensors_by_name = {tensor.name: tensor for tensor in stored_tensors}
    if _FREQ_FACTORS in tensors_by_name:
        freq_factors = tensors_by_name.pop(_FREQ_FACTORS)
        config["rope_scaling"] = _longrope_settings(
            _float_rows(freq_factors, freq_factors.data).ravel()
        )
    tensors = {
        _checkpoint_name(name, family): _pack(t, config, family)
        for name, t in tensors_by_name.items()
    }
    config["tie_word_embeddings"] = "lm_head.weight" not in tensors
    config["attention_bias"] = any(name.endswith("q_proj.bias") for name in tensors)
    if (table := tensors.get("model.embed_tokens.weight")) is not None:
        config["vocab_size"] = table.shape[0]
    try:
        tokenizer = build_tokenizer(fields, is_ordered=kind.startswith("gemma"))
    except CheckpointError:
        raise
    except Exception as error:  # the tokenizers library raises no narrower exception
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(
            f"The tokenizer in {path} is incomplete or corrupt: {reason}."
        ) from error
    return GgufModel(
        config=config,
        tensors=tensors,
        tokenizer=tokenizer,
        name=str(fields.get("general.name", path.stem)),
    )


def settings_of(fields: Mapping[str, Any], kind: str, family: Family) -> dict[str, Any]:
    """Return a file's settings with the names of a config."""
    config: dict[str, Any] = {"model_type": family.model_type, **family.settings}
    config_names, scaling = {**_SETTINGS, **family.keys}, dict[str, Any]()
    for name, value in fields.items():
        if not name.startswith(f"{kind}."):
            continue
        setting = name.removeprefix(f"{kind}.")
        if setting in config_names:
            config[config_names[setting]] = value
        elif setting in _SCALING:
            scaling[_SCALING[setting]] = value
        elif setting not in _IGNORED:
            raise CheckpointError(f"The GGUF file sets {name}, which is not implemented.")
    config.setdefault("num_key_value_heads", config.get("num_attention_heads"))
    n_heads = _count(config.get("num_attention_heads"), f"{kind}.attention.head_count")
    _count(config["num_key_value_heads"], f"{kind}.attention.head_count_kv")
    if scaling and scaling.get("rope_type") != "none":
        config["rope_scaling"] = {"rope_type": "linear", **scaling}
    if family.n_layers_of_largest is not None:
        is_widest = config.get("num_hidden_layers") == family.n_layers_of_largest
        d_model = _count(config.get("hidden_size"), f"{kind}.embedding_length")
        scalar = d_model // n_heads if is_widest else config.get("head_dim")
        config["query_pre_attn_scalar"] = scalar
    return config


def _count(value: object, key: str) -> int:
    """Return a setting that must be one number; some files have a number per layer."""
    if value is None:
        raise CheckpointError(f"The GGUF file has no {key}.")
    if type(value) is not int or value < 1:
        raise CheckpointError(
            f"The GGUF file sets {key} to {value!r:.60}; expected a single positive whole number."
        )
    return value


def _longrope_settings(factors: Array) -> dict[str, Any]:
    """Return rotary settings with a factor per frequency, as LongRoPE."""
    factor_list = [float(factor) for factor in factors]
    return {
        "rope_type": "longrope",
        "short_factor": factor_list,
        "long_factor": factor_list,
        "attention_factor": 1.0,
    }


def _checkpoint_name(name: str, family: Family) -> str:
    names = {**_NAMES, **family.names}
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    if match is None or match[2] not in names:
        return name  # nothing reads it, so it is refused
    layer = "" if match[1] is None else f"layers.{match[1]}."
    prefix = "" if match[2] == "output" else "model."
    return f"{prefix}{layer}{names[match[2]]}.{match[3]}"


def _pack(tensor: StoredTensor, config: Mapping[str, Any], family: Family) -> Packed:
    base_name = ["", *tensor.name.split(".")][-2]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    is_permuted = family.is_permuted and base_name in heads
    if is_permuted and tensor.shape[0] % (2 * heads[base_name]):
        raise CheckpointError(
            f"Tensor {tensor.name!r} has {tensor.shape[0]} rows; expected a multiple of "
            f"{2 * heads[base_name]}, for pairs of rows in {heads[base_name]} heads."
        )

    offset = np.float32(family.norm_offset if base_name.endswith("norm") else 0)

    def rows(index: Any) -> Array:
        if is_permuted:
            index = _half_pairs(tensor.shape[0], heads[base_name])[index]
        numbers = _float_rows(tensor, tensor.data[index])
        return numbers - offset if offset else numbers

    return Packed(
        shape=tensor.shape,
        unpack=lambda: rows(slice(None)),
        rows=rows,
        name=tensor.name,
        data=tensor.data,
    )


def _float_rows(tensor: StoredTensor, data: NDArray[np.uint8]) -> Array:
    """Return rows of a tensor as float32."""
    try:
        return dequantize(data, tensor.kind)
    except NotImplementedError as error:
        raise CheckpointError(f"Could not dequantize tensor {tensor.name!r}: {error}.") from error


def dequantize(data: NDArray[np.uint8], number: int) -> Array:
    """Dequantize rows of bytes of a quantisation type.

    Raises:
        NotImplementedError: The library cannot unpack this type.
    """
    from gguf import GGMLQuantizationType, dequantize

    kind = GGMLQuantizationType(number)
    # The library unpacks 16 rows at a time; with longer rows it is 1.5 times as fast.
    n_rows = prod(data.shape[:-1])
    wide_rows = data.reshape(n_rows // gcd(n_rows, _FUSED_ROWS), -1)
    numbers = dequantize(wide_rows, kind)
    return np.asarray(numbers, np.float32).reshape(*data.shape[:-1], -1)


def _half_pairs(n_rows: int, n_heads: int) -> NDArray[np.intp]:
    """Return the order of rows that turns pairs (2i, 2i + 1) into pairs (i, i + half)."""
    return np.arange(n_rows).reshape(n_heads, -1, 2).swapaxes(1, 2).ravel()
