"""Information about a model: name, shape, origin, licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StackInfo:
    """The shape of a stack: an encoder or a decoder."""

    n_layers: int
    n_heads: int
    d_head: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's name, origin and shape, which is that of the last stack or of the block shown."""

    name: str
    type: str  # `model_type` of its config.json
    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_vocab: int
    origin: str  # of the heads: "learned ...", "identity" or "random ..., untrained"
    about: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()  # what a user of the model should know
    stacks: Mapping[str, StackInfo] = field(default_factory=dict)  # in the order in which they run
