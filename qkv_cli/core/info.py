"""What there is to say about a model besides its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StackInfo:
    """The shape of an encoder or of a decoder."""

    n_layers: int
    n_heads: int
    d_head: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's name, shape and origin; the shape of the last stack, or of the block shown."""

    name: str
    type: str  # `model_type` of its config.json
    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_vocab: int
    origin: str  # how its heads came to be: "learned ...", "identity", "random ..., untrained"
    about: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()  # what a user of the model should know
    stacks: Mapping[str, StackInfo] = field(default_factory=dict)  # in the order they run
