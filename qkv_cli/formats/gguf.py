"""GGUF files: a model's config, its tensors and its tokenizer in one file, often quantised.

Read through the `gguf` library, an extra: pip install 'qkv-cli[gguf]'. What it yields is put in
the words of the families' own configs and checkpoints, so that the same adapters read it.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from qkv_cli.core.arrays import Array, Packed
from qkv_cli.errors import CheckpointError, StoreError

FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
# The end of a key behind "llama." and the like, and what configs call it.
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
# Said a second time by other keys or by the tensors, or of no account at inference.
_SPARE = ("vocab_size", "rope.dimension_count", "attention.value_length", "expert_count")
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
_PIECES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# How a text is cut before pairs are merged, by `tokenizer.ggml.pre`.
_CUTS: dict[str, Callable[[], Any]] = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), _bytes(cut=True)]
    ),
    "gpt-2": lambda: _bytes(cut=True),
    "qwen2": lambda: _by_pattern(_PIECES + _REST),
    "llama-bpe": lambda: _by_pattern(_PIECES + "{1,3}" + _REST),
}
_CONTROL, _UNKNOWN = 3, 2  # of `tokenizer.ggml.token_type`


@dataclass(frozen=True, slots=True)
class Opened:
    """A GGUF file in the words of a Hugging Face folder."""

    config: dict[str, Any]
    tensors: dict[str, Packed]
    tokenizer: Tokenizer
    name: str


def open_gguf(path: Path) -> Opened:
    """Open a file; no tensor is unpacked yet.

    Raises:
        StoreError: The `gguf` library is not installed.
        CheckpointError: The file is broken, or its family or tokenizer not supported.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise StoreError(
            f"{path.name} is read by the gguf library: pip install 'qkv-cli[gguf]'."
        ) from error
    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, OSError, OverflowError, TypeError) as error:
        raise CheckpointError(f"{path} is no GGUF file, or is cut short: {error}.") from error
    kind = fields.get("general.architecture")
    if kind not in FAMILIES:
        raise CheckpointError(
            f"{path} holds a {kind!r}; of GGUF files {', '.join(FAMILIES)} are read."
        )
    config = _config(fields, kind)
    packed = {tensor.name: tensor for tensor in reader.tensors}
    # Llama's files have the rows of queries and keys in the order of another rotation.
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {
        _name(name): _packed(tensor, heads.get(name.split(".")[-2]) if kind == "llama" else None)
        for name, tensor in packed.items()
    }
    return Opened(config, tensors, _tokenizer(fields), str(fields.get("general.name", path.stem)))


def _config(fields: Mapping[str, Any], kind: str) -> dict[str, Any]:
    config: dict[str, Any] = {"model_type": FAMILIES[kind], "hidden_act": "silu"}
    for name, value in fields.items():
        if not name.startswith(f"{kind}."):
            continue
        setting = name.removeprefix(f"{kind}.")
        if setting in _SETTINGS:
            config[_SETTINGS[setting]] = value
        elif setting not in _SPARE:
            raise CheckpointError(f"The GGUF file has a setting that nothing reads: {name}.")
    config.setdefault("num_key_value_heads", config.get("num_attention_heads"))
    n_heads = config.get("num_attention_heads")
    if not isinstance(n_heads, int) or n_heads < 1:
        raise CheckpointError(f"The GGUF file does not say {kind}.attention.head_count.")
    return config


def _name(name: str) -> str:
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    if match is None or match[2] not in _NAMES:
        return name  # nothing reads it, and the load says so
    layer = "" if match[1] is None else f"layers.{match[1]}."
    head = "" if match[2] == "output" else "model."
    return f"{head}{layer}{_NAMES[match[2]]}.{match[3]}"


def _packed(tensor: Any, n_heads: int | None) -> Packed:
    shape = tuple(int(n) for n in reversed(tensor.shape))

    def unpack() -> Array:
        found = _unpacked(tensor.data, tensor.tensor_type).reshape(shape)
        return found if n_heads is None else _unpermuted(found, n_heads)

    return Packed(shape, unpack, partial(_rows, tensor))


def _rows(tensor: Any, rows: Any) -> Array:
    return _unpacked(tensor.data[rows], tensor.tensor_type)


def _unpacked(data: NDArray[Any], kind: Any) -> Array:
    from gguf import dequantize

    try:
        return np.asarray(dequantize(data, kind), np.float32)
    except NotImplementedError as error:
        raise CheckpointError(f"The quantisation {kind.name} is not implemented.") from error


def _unpermuted(W: Array, n_heads: int) -> Array:
    """Rows of pairs (2i, 2i + 1) back to pairs (i, i + half)."""
    rows = W.shape[0] // n_heads // 2
    return W.reshape(n_heads, rows, 2, *W.shape[1:]).swapaxes(1, 2).reshape(W.shape)


def _tokenizer(fields: Mapping[str, Any]) -> Tokenizer:
    kind, cut = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if kind != "gpt2" or cut not in _CUTS:
        raise CheckpointError(
            f"The GGUF file's tokenizer is {kind!r}, cut as {cut!r}; gpt2 cut as "
            f"{', '.join(_CUTS)} is implemented."
        )
    pieces, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ", 1)) for pair in fields["tokenizer.ggml.merges"]]
    found = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    found.pre_tokenizer = _CUTS[cut]()
    found.decoder = decoders.ByteLevel()
    control = [p for p, k in zip(pieces, kinds, strict=True) if k in (_CONTROL, _UNKNOWN)]
    found.add_special_tokens([AddedToken(p, special=True, normalized=False) for p in control])
    if fields.get("tokenizer.ggml.add_bos_token", False):
        from tokenizers.processors import TemplateProcessing

        first = fields["tokenizer.ggml.bos_token_id"]
        found.post_processor = TemplateProcessing(
            single=f"{pieces[first]} $A", special_tokens=[(pieces[first], first)]
        )
    return found


def _bytes(*, cut: bool) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut)


def _by_pattern(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), _bytes(cut=False)]
    )
