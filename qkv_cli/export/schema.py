"""Validation of documents with the JSON Schemas of the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.errors import InputError

HERE = Path(__file__).parent
_LARGEST = float(np.finfo(np.float32).max)


def check_schema(document: object, name: str) -> None:
    """Validate a document with `NAME.schema.json`.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    from jsonschema.exceptions import best_match

    if (error := best_match(_validator(name).iter_errors(document))) is not None:
        message = " ".join(error.message.split())
        if error.validator == "maxItems":  # the message would list all of them
            message = f"{len(error.instance)} items; the maximum is {error.validator_value}"
        raise InputError(f"{error.json_path}: {message[:120]}{'...' * (len(message) > 120)}")
    if _exceeds_float32(document):
        raise InputError("a number exceeds the range of float32 (3.4e38).")


def _exceeds_float32(value: object) -> bool:
    """Whether a document contains a number beyond float32, such as 1e999."""
    if isinstance(value, dict):
        return any(map(_exceeds_float32, value.values()))
    if isinstance(value, list):
        return any(map(_exceeds_float32, value))
    return isinstance(value, int | float) and abs(value) > _LARGEST


def _is_integer(_: object, value: object) -> bool:
    """Whether a value is an int: JSON Schema accepts 1.0, but Python does not index with it."""
    return type(value) is int


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    schema = json.loads((HERE / f"{name}.schema.json").read_text(encoding="utf-8"))
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    return extend(Draft202012Validator, type_checker=types)(schema)


def numbers(where: str, value: object, shape: Sequence[int | None], *, null: float) -> Array:
    """Return nested lists of numbers as a float64 array.

    Args:
        where: The name of the field, for errors.
        shape: The expected shape, with None for any length.
        null: The value of a null: -inf where masked, NaN where missing.

    Raises:
        InputError: The shape differs, or a number exceeds float32.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (ValueError, OverflowError, TypeError) as error:
        raise InputError(f"{where} is not an array of numbers.") from error
    fits = len(shape) == array.ndim and all(
        n in (None, m) for n, m in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(f"{where} has shape {list(array.shape)}; expected [{expected}].")
    return np.where(np.isnan(array), null, array)
