"""What there is to say about a model besides its numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelInfo:
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
