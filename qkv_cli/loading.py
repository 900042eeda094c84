"""From a folder on disk to a model, its tokenizer, and what there is to say about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.adapters import build
from qkv_cli.adapters import random_heads as draw_random_heads
from qkv_cli.core.attention import Weighting
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.model import LayerTrace, Model
from qkv_cli.core.tokens import Token, Tokenizer
from qkv_cli.errors import CheckpointError, InputError, UsageError
from qkv_cli.formats.safetensors import open_tensors
from qkv_cli.formats.words import WordTokenizer, unpack_words

# Scores and pattern of one layer at this size are 2 GiB.
MAX_CELLS = 2**28
FILES = ("config.json", "tokenizer.json", "vectors.safetensors", "model.safetensors")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    model: Model
    tokenizer: Tokenizer
    info: ModelInfo

    def read(
        self,
        text: str,
        source: str | None = None,
        *,
        weighting: Weighting = "softmax",
        causal: bool = False,
    ) -> Run:
        """Tokenize, and be ready to compute: self-attention, or attention from text to source.

        Raises:
            InputError: A text has no tokens, or too many for its maps to fit in memory.
            UsageError: The model cannot read a second text, or not with a causal mask.
        """
        model, queries = self.model, self._tokens("text", text)
        keys, inputs = queries, [queries]
        if source is not None:
            if model.between_texts is None:
                raise UsageError(f"{self.info.name} has no cross-attention: leave out --source.")
            if causal:
                raise UsageError(
                    "Between two texts there is no before and after: --causal or --source."
                )
            model, keys = model.between_texts, self._tokens("source", source)
            inputs = [keys, queries]
        cells = self.info.n_heads * len(queries) * len(keys)
        if cells > MAX_CELLS:
            raise InputError(
                f"{len(queries):,} x {len(keys):,} tokens in {self.info.n_heads} heads make "
                f"{cells:,} weights a layer; at most {MAX_CELLS:,} are drawn, "
                f"{int((MAX_CELLS / self.info.n_heads) ** 0.5):,} tokens of one text."
            )
        ids = [[token.id for token in tokens] for tokens in inputs]
        layers = model.layers(*ids, weighting=weighting, causal=causal)
        return Run(queries, keys, model, layers)

    def _tokens(self, what: str, text: str) -> list[Token]:
        tokens = self.tokenizer.encode(text)
        if not tokens:
            raise InputError(f"The {what} is empty: there is no word in it to look at.")
        return tokens


@dataclass(frozen=True, slots=True)
class Run:
    """One text on its way through a model. The layers can be taken once."""

    queries: list[Token]
    keys: list[Token]
    model: Model  # the one that computes: between two texts, `Model.between_texts`
    layers: Iterator[LayerTrace]


def load(folder: Path, *, random_heads: int | None = None) -> LoadedModel:
    """Open a model folder; nothing large is read yet.

    Args:
        random_heads: Replace the learned heads by untrained ones of this seed.

    Raises:
        CheckpointError: A file or tensor is missing, broken or not implemented.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is {'no folder' if folder.exists() else 'not there'}.")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder} is no model folder: no {' and no '.join(missing)}.")
    config = _read_config(folder / "config.json")
    vectors = open_tensors(folder / "vectors.safetensors")
    words = unpack_words({name: vectors.pop(name) for name in list(vectors) if "words." in name})
    tensors = vectors | open_tensors(folder / "model.safetensors")
    if random_heads is not None:
        tensors |= draw_random_heads(config, random_heads)
    info = _info(folder, config, random_heads)
    _check_vocabulary(folder, len(words), tensors)
    return LoadedModel(
        build(config, Tensors(tensors)), WordTokenizer.open(folder / "tokenizer.json", words), info
    )


def read_info(folder: Path) -> ModelInfo:
    """What a folder's config.json says of the model, without opening its tensors."""
    return _info(folder, _read_config(folder / "config.json"), None)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return config


def _info(folder: Path, config: dict[str, Any], random_heads: int | None) -> ModelInfo:
    try:
        return ModelInfo(
            name=config.get("name") or folder.name,
            type=config["model_type"],
            n_layers=config["n_layers"],
            n_heads=config["n_heads"],
            d_model=config["d_model"],
            d_head=config["d_head"],
            d_vocab=config["d_vocab"],
            origin=config["origin"]
            if random_heads is None
            else f"random (seed {random_heads}), untrained",
            about=config.get("about", ""),
            licence=config.get("licence", ""),
        )
    except KeyError as error:
        raise CheckpointError(f"{folder / 'config.json'} does not say {error}.") from error


def _check_vocabulary(folder: Path, n_words: int, tensors: dict[str, NDArray[Any]]) -> None:
    """One row a word, and one behind them for words that are unknown."""
    rows = np.shape(tensors.get("embed.weight", ()))
    if rows[:1] != (n_words + 1,):
        raise CheckpointError(
            f"{folder} names {n_words} words, so embed.weight must have {n_words + 1} rows; "
            f"its shape is {rows}."
        )
