"""The state of a training run as named tensors, for saving and resuming."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.errors import CheckpointError
from qkv_cli.training.heads import HeadShape, Parameters, initial_parameters
from qkv_cli.training.learn import Adam, State

_PARTS = ("now", "adam.m", "adam.v", "best")


def state_tensors(state: State, seed: int) -> dict[str, NDArray[Any]]:
    """Return the tensors that `read_state` reads."""
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
    """Return the state of a saved run, and its seed.

    Raises:
        CheckpointError: The tensors were not written by `state_tensors`.
    """
    d_inner, d_model = _checked_tensor(tensors, "now.W_O", None, None).shape
    n_rows, n_heads = _checked_tensor(tensors, "now.offset", None, None).shape
    if not n_heads or d_inner % n_heads or not n_rows % 2:
        raise CheckpointError(
            f"The saved run has W_O of shape {[d_inner, d_model]} and offset of shape "
            f"{[n_rows, n_heads]}; expected W_O with a multiple of {n_heads} rows, and offset with "
            "an odd number of rows."
        )
    shape = HeadShape(d_model=d_model, n_heads=n_heads, d_head=d_inner // n_heads, clip=n_rows // 2)
    parameters, m, v, best = (_read_part(tensors, part, shape) for part in _PARTS)
    step, seed = _checked_tensor(tensors, "run", 2, kind=np.integer).tolist()
    elapsed, accuracy = _checked_tensor(tensors, "measured", 2).tolist()
    if step < 0 or seed < 0 or not 0 <= elapsed < np.inf or not -1 <= accuracy <= 1:
        raise CheckpointError(
            f"The saved run is corrupt: step {step}, seed {seed}, accuracy {accuracy}, "
            f"{elapsed} seconds."
        )
    return State(
        parameters=parameters,
        adam=Adam(m, v, step),
        elapsed=elapsed,
        best=best,
        best_accuracy=accuracy,
    ), seed


def shape_of(parameters: Mapping[str, Array]) -> HeadShape:
    """Return the shape of a run's heads."""
    d_inner, d_model = parameters["W_O"].shape
    n_rows, n_heads = parameters["offset"].shape
    return HeadShape(d_model=d_model, n_heads=n_heads, d_head=d_inner // n_heads, clip=n_rows // 2)


def _read_part(tensors: Mapping[str, NDArray[Any]], part: str, shape: HeadShape) -> Parameters:
    """Return the arrays of one part, finite except for the offset 0."""
    arrays = {
        name: np.array(_checked_tensor(tensors, f"{part}.{name}", *initial_array.shape), np.float32)
        for name, initial_array in initial_parameters(shape, 0).items()
    }
    for name, array in arrays.items():
        is_invalid = np.isnan(array) if name == "offset" else ~np.isfinite(array)
        if is_invalid.any():
            raise CheckpointError(f"The saved run's {part}.{name} contains NaN or infinity.")
    return arrays


def _checked_tensor(
    tensors: Mapping[str, NDArray[Any]], name: str, *shape: int | None, kind: type = np.floating
) -> NDArray[Any]:
    """Return a tensor of an expected shape, with None for any length."""
    if (array := tensors.get(name)) is None:
        raise CheckpointError(f"The saved run has no {name!r}.")
    is_fit = array.ndim == len(shape) and all(
        size in (None, n_found) for size, n_found in zip(shape, array.shape, strict=True)
    )
    if not is_fit or not np.issubdtype(array.dtype, kind):
        numbers = "integers" if kind is np.integer else "floats"
        expected_shape = ", ".join("*" if n_found is None else str(n_found) for n_found in shape)
        raise CheckpointError(
            f"The saved run's {name} has dtype {array.dtype} and shape {list(array.shape)}; "
            f"expected {numbers} of shape [{expected_shape}]."
        )
    return array
