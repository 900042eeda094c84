"""Which function turns which checkpoint into a `Model`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qkv_cli.adapters import word_vectors as _word_vectors
from qkv_cli.core.arrays import Array
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.model import Model
from qkv_cli.errors import CheckpointError, UsageError

Adapter = Callable[[Mapping[str, Any], Tensors], Model]

# Keyed by `model_type` in config.json.
ADAPTERS: dict[str, Adapter] = {
    "word-vectors": _word_vectors.word_vectors,
}


def build(config: Mapping[str, Any], tensors: Tensors) -> Model:
    """The model that a config and its tensors describe; refused if a tensor is left over."""
    kind = config.get("model_type")
    if kind not in ADAPTERS:
        raise CheckpointError(
            f"{kind!r} checkpoints are not supported. Supported: {', '.join(sorted(ADAPTERS))}."
        )
    model = ADAPTERS[kind](config, tensors)
    tensors.refuse_unread()
    return model


def random_heads(config: Mapping[str, Any], seed: int) -> dict[str, Array]:
    """Untrained heads in place of a checkpoint's own, where its family has such a thing."""
    if config.get("model_type") != "word-vectors":
        raise UsageError("--random-heads is for word-vector models only.")
    return _word_vectors.random_heads(config, seed)
