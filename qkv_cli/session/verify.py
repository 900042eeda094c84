"""Comparison of a checkpoint's patterns with those of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.errors import StoreError, UsageError
from qkv_cli.formats.gguf_parts import present_parts
from qkv_cli.names import Block
from qkv_cli.session.load import gguf_in, load

CLOSE = 1e-4


def compare_with_transformers(
    folder: Path, text: str, source: str | None
) -> Iterator[tuple[str, float]]:
    """Yield the block and index of each layer, and the largest difference of a weight.

    Raises:
        StoreError: torch or transformers is not installed.
        UsageError: transformers cannot read this kind of model.
    """
    loaded = load(folder)
    path = gguf_in(folder)
    if path is None and not (folder / "config.json").is_file():
        raise UsageError(f"transformers cannot read {folder}: it has no config.json.")
    if path is not None and len(present_parts(path)) > 1:
        raise UsageError(
            "transformers cannot read split GGUF files: merge them with `llama-gguf-split --merge`."
        )
    if loaded.info.type == "word-vectors":
        raise UsageError(
            f"`qkv models verify` does not apply to {loaded.info.name}: transformers has no "
            "word-vector models."
        )
    if loaded.is_encoder_decoder and source is None:
        raise UsageError(f"{loaded.info.name} is an encoder-decoder: add --source TEXT.")
    blocks: tuple[Block | None, ...] = (None,)
    if loaded.is_encoder_decoder:
        blocks = ("encoder", "decoder", "cross")
    runs = {block: loaded.read(text, source, block=block) for block in blocks}
    source_ids = [
        t.id for t in (runs["encoder"].keys if loaded.is_encoder_decoder else runs[None].queries)
    ]
    target_ids = [t.id for t in runs["decoder"].queries] if loaded.is_encoder_decoder else None
    theirs = _transformers(folder if path is None else path, source_ids, target_ids)
    for block, run in runs.items():
        for layer, expected in zip(run.layers, theirs[block or "self"], strict=True):
            trace = layer.attention(block or "self")
            difference = float(np.abs(trace.pattern() - expected).max())
            yield f"{block or 'layer'} {layer.index}", difference


def _transformers(
    path: Path, ids: list[int], target_ids: list[int] | None
) -> dict[str, list[Array]]:
    """Return the patterns that transformers computes, from a folder or a GGUF file."""
    try:
        import torch
        import transformers
        from transformers import AutoModel
    except ImportError as error:
        raise StoreError(
            f"{error.name} is not installed: run `pip install torch transformers`."
        ) from error
    place = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
    dtype_argument = "dtype" if _version(transformers.__version__) >= (4, 56) else "torch_dtype"
    settings: dict[str, Any] = {
        "attn_implementation": "eager",
        dtype_argument: torch.float32,
    } | place[1]
    try:
        model: Any = AutoModel.from_pretrained(str(place[0]), **settings).eval()
    except Exception as error:  # of dozens of kinds
        reason = " ".join(str(error).split()).rstrip(".")
        raise StoreError(f"transformers could not read {path}: {reason}.") from error
    inputs = {"input_ids": torch.tensor([ids])}
    if target_ids is not None:
        inputs["decoder_input_ids"] = torch.tensor([target_ids])
    with torch.no_grad():
        output = model(**inputs, output_attentions=True)
    names = (
        {"self": "attentions"}
        if target_ids is None
        else {
            "encoder": "encoder_attentions",
            "decoder": "decoder_attentions",
            "cross": "cross_attentions",
        }
    )
    return {
        block: [layer[0].numpy() for layer in getattr(output, name)]
        for block, name in names.items()
    }


def _version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
