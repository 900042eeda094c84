"""A run of learning as named tensors, so that it can be saved and gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError
from qkv_cli.training.adam import Adam
from qkv_cli.training.heads import Parameters, Shape
from qkv_cli.training.learn import State

_PARTS = ("now", "adam.m", "adam.v", "best")


def state_tensors(state: State, seed: int) -> dict[str, NDArray[Any]]:
    """Everything that `read_state` needs."""
    parts = (state.parameters, state.adam.m, state.adam.v, state.best)
    tensors: dict[str, NDArray[Any]] = {
        f"{part}.{name}": array
        for part, arrays in zip(_PARTS, parts, strict=True)
        for name, array in arrays.items()
    }
    tensors["run"] = np.array([state.step, seed], np.int64)
    tensors["measured"] = np.array([state.elapsed, state.best_accuracy], np.float64)
    return tensors


def read_state(tensors: Mapping[str, NDArray[Any]]) -> tuple[State, int]:
    """A saved run and its seed.

    Raises:
        CheckpointError: It is not what `state_tensors` writes.
    """
    try:
        now, m, v, best = (_part(tensors, part) for part in _PARTS)
        step, seed = tensors["run"].tolist()
        elapsed, accuracy = tensors["measured"].tolist()
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"The saved run is incomplete: {error}.") from error
    return State(now, Adam(m, v, step), elapsed, best, accuracy), seed


def shape_of(parameters: Mapping[str, Array]) -> Shape:
    """The shape that a run's parameters have."""
    d_inner, d_model = parameters["W_O"].shape
    rows, n_heads = parameters["offset"].shape
    return Shape(d_model, n_heads, d_inner // n_heads, rows // 2)


def _part(tensors: Mapping[str, NDArray[Any]], part: str) -> Parameters:
    names = ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "c", "offset")
    return {name: np.array(tensors[f"{part}.{name}"], np.float32) for name in names}
