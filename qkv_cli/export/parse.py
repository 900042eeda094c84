"""Reading of documents as head maps, with a check of every field.

Unknown keys are ignored, so later versions can add some.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.attention import WEIGHTINGS
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.errors import InputError
from qkv_cli.export.document import MATRICES, SCHEMA, SHOWN
from qkv_cli.maps.head_maps import FIELDS, HeadMap, HeadMaps
from qkv_cli.names import Block, Show, Weighting

_MAX_INT = 2**53  # beyond it, JSON parsers disagree
_MAX_HEADS = 4096  # of a layer, and of layers: none has more, and ranges must stay small
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}

# From rows, [n_rows][n_columns], of a field to an array: float32, or bool for a mask
ReadArray = Callable[[str, object, int, int], NDArray[Any]]


def parse_document(document: object, read_array: ReadArray) -> HeadMaps:
    """Return the head maps of a JSON document.

    Args:
        read_array: Turns (path, value, n_rows, n_columns) into an array.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    if not isinstance(document, dict):
        raise InputError(f"the document is {_kind(document)}; expected an object.")
    schema = document.get("schema")
    if schema != SCHEMA:
        problem = f"is {schema!r:.60}" if "schema" in document else "is missing"
        raise InputError(f'"schema" {problem}; this version of qkv reads {SCHEMA!r}.')
    about = about_of(document)
    items = _get(document, "", "maps", list)
    if not items:
        raise InputError('"maps" is empty.')
    maps = [_map(m, f"maps[{index}]", about, read_array) for index, m in enumerate(items)]
    _refuse_duplicates(maps)
    _refuse_missing_quantity(maps, FIELDS[about.shown])
    return replace(about, maps=maps)


def about_of(document: dict[str, Any], *, of_texts: bool = False) -> HeadMaps:
    """Return the model, the options of the reading, and the tokens, without maps.

    Args:
        of_texts: The document is about any number of texts and contains none.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    text, source, pair = "", None, None
    quantity: Show = "weights"
    queries: list[Token] = []
    keys: list[Token] = []
    if document.get("source") is not None:
        source = _get(document, "", "source", str)
    if document.get("pair") is not None:
        pair = _get(document, "", "pair", str)
    if "shown" in document:
        quantity = {name: show for show, name in SHOWN.items()}[
            _one_of(document, "", "shown", tuple(SHOWN.values()))
        ]
    if not of_texts or "text" in document:
        text = _get(document, "", "text", str)
        queries = _tokens(document, "queries", text, pair)
        keys = _tokens(document, "keys", text if source is None else source, pair)
        if source is None and keys != queries:
            raise InputError('"keys" differ from "queries", but the document has no "source".')
    return HeadMaps(
        model=_model(_get(document, "", "model", dict)),
        weighting=cast(Weighting, _one_of(document, "", "weighting", tuple(WEIGHTINGS))),
        causal=_flag(document, "", "causal"),
        text=text,
        source=source,
        queries=queries,
        keys=keys,
        maps=(),
        notes=_notes(document.get("notes", [])),
        pair=pair,
        shown=quantity,
        ablated=_get(document, "", "ablated", str) if "ablated" in document else "",
    )


def bare_map(m: dict[str, Any], about: HeadMaps) -> HeadMap:
    """Return a map with zero weights, for documents of statistics."""
    zeros = np.zeros((len(about.queries), len(about.keys)), np.float32)
    return HeadMap(
        name=m["name"], block=m["block"], layer=m["layer"], head=m["head"], pattern=zeros
    )


def _notes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(note, str) for note in value):
        raise InputError('"notes" is not an array of strings.')
    return tuple(value)


def json_array(path: str, value: object, n_rows: int, n_columns: int) -> NDArray[Any]:
    """Return an array from lists of rows. Only scores may contain null (-inf); masks are bool."""
    if not isinstance(value, list):
        raise InputError(f"{path} is {_kind(value)}; expected an array of rows.")
    if len(value) != n_rows:
        raise InputError(f"{path}: expected {n_rows} rows, found {len(value)}.")
    field = path.rpartition(".")[2]
    kinds: dict[str, set[type]] = {"scores": {int, float, type(None)}, "mask": {bool}}
    valid_types = kinds.get(field, {int, float})
    expected = "true or false" if field == "mask" else "a number"
    for i, row in enumerate(value):
        if not isinstance(row, list):
            raise InputError(f"{path}[{i}] is {_kind(row)}; expected an array of numbers.")
        if len(row) != n_columns:
            raise InputError(f"{path}[{i}]: expected {n_columns} numbers, found {len(row)}.")
        if not set(map(type, row)) <= valid_types:
            invalid = next(x for x in row if type(x) not in valid_types)
            raise InputError(f"{path}[{i}] contains {_kind(invalid, 'null')}; expected {expected}.")
    if field == "mask":
        return np.array(value, dtype=np.bool_)
    try:
        numbers_read = np.array(value, dtype=np.float64)  # null becomes NaN
    except OverflowError as error:
        raise InputError(f"a number in {path} exceeds the range of float32 (3.4e38).") from error
    return to_float32(path, np.where(np.isnan(numbers_read), -np.inf, numbers_read))


def to_float32(path: str, x64: Array) -> Array:
    """Return float32 numbers, finite except for masked scores."""
    with np.errstate(over="ignore"):
        x = x64.astype(np.float32)
    is_masked = np.isneginf(x64) if path.endswith(".scores") else False
    if not (np.isfinite(x) | is_masked).all():
        raise InputError(f"{path} contains NaN, or exceeds the range of float32 (3.4e38).")
    return x


def _map(m: object, path: str, about: HeadMaps, read_array: ReadArray) -> HeadMap:
    if not isinstance(m, dict):
        raise InputError(f"{path} is {_kind(m)}; expected an object.")
    model, n_query, n_key = about.model, len(about.queries), len(about.keys)
    rows = {"q": n_query, "k": n_key, "v": n_key, "z": n_query}
    other_arrays = {
        name: read_array(
            f"{path}.{name}",
            m[name],
            rows.get(name, n_query),
            model.d_head if name in rows else n_key,
        )
        for name in MATRICES
        if m.get(name) is not None
    }
    head = None if m.get("head") is None else _integer(m, path, "head", below=model.n_heads)
    block = cast(Block, _one_of(m, path, "block", get_args(Block)))
    pattern = read_array(f"{path}.pattern", m.get("pattern"), n_query, n_key)
    if m.get("mask") is None:
        mask = _infer_mask(other_arrays.get("scores"), about, block, (n_query, n_key))
    else:
        mask = read_array(f"{path}.mask", m["mask"], n_query, n_key)
        _refuse_contradiction(path, mask, pattern, other_arrays.get("scores"))
    return HeadMap(
        name=_get(m, path, "name", str),
        block=block,
        layer=_integer(m, path, "layer", below=model.n_layers),
        head=head,
        pattern=pattern,
        mask=mask,
        **other_arrays,
    )


def _infer_mask(
    scores: Array | None, about: HeadMaps, block: Block, shape: tuple[int, int]
) -> Mask:
    """Return the mask of a document that lacks one: from its scores, or otherwise from `causal`."""
    if scores is not None:
        return ~np.isneginf(scores)
    all_visible = np.ones(shape, np.bool_)
    return np.tril(all_visible) if about.causal and block != "cross" else all_visible


def _refuse_contradiction(path: str, mask: Mask, pattern: Array, scores: Array | None) -> None:
    if pattern[~mask].any():
        raise InputError(f"{path}.pattern is not 0 where {path}.mask is false (masked).")
    if scores is not None and np.isneginf(scores[mask]).any():
        raise InputError(f"{path}.scores is null where {path}.mask is true (visible).")


def _refuse_duplicates(maps: list[HeadMap]) -> None:
    first_indices: dict[tuple[str, str], int] = {}
    for index, m in enumerate(maps):
        first_index = first_indices.setdefault((m.block, m.name), index)
        if first_index != index:
            raise InputError(
                f"maps[{first_index}] and maps[{index}] have the same name and block: "
                f"{m.name!r:.60}."
            )


def _refuse_missing_quantity(maps: list[HeadMap], field: str) -> None:
    for index, m in enumerate(maps):
        if getattr(m, field) is None:
            raise InputError(f'maps[{index}] has no "{field}", which "shown" selects.')


def _model(m: dict[str, Any]) -> ModelInfo:
    return ModelInfo(
        name=_get(m, "model", "name", str),
        type=_get(m, "model", "type", str),
        n_layers=_integer(m, "model", "layers", below=_MAX_HEADS + 1),
        n_heads=_integer(m, "model", "heads", below=_MAX_HEADS + 1),
        d_model=_integer(m, "model", "d_model"),
        d_head=_integer(m, "model", "d_head"),
        d_vocab=_integer(m, "model", "d_vocab"),
        origin=_get(m, "model", "origin", str),
        about=_get(m, "model", "about", str) if "about" in m else "",
        licence=_get(m, "model", "licence", str) if "licence" in m else "",
    )


def _tokens(document: dict[str, Any], name: str, text: str, pair: str | None) -> list[Token]:
    items = _get(document, "", name, list)
    if not items:
        raise InputError(f'"{name}" is empty.')
    texts = [text] if pair is None else [text, pair]
    return [_token(t, f"{name}[{i}]", texts) for i, t in enumerate(items)]


def _token(t: object, path: str, texts: list[str]) -> Token:
    if not isinstance(t, dict):
        raise InputError(f"{path} is {_kind(t)}; expected an object.")
    segment = _integer(t, path, "segment", below=len(texts)) if "segment" in t else 0
    end = _integer(t, path, "end", below=len(texts[segment]) + 1)
    return Token(
        i=_integer(t, path, "i"),
        text=_get(t, path, "text", str),
        token=_get(t, path, "token", str),
        id=_integer(t, path, "id"),
        start=_integer(t, path, "start", below=end + 1),
        end=end,
        special=_flag(t, path, "special"),
        unknown=_flag(t, path, "unknown"),
        segment=segment,
    )


def _get(fields: dict[str, Any], path: str, key: str, kind: type[Any]) -> Any:
    if key not in fields:
        raise InputError(f'{path or "the document"} has no "{key}".')
    if type(fields[key]) is not kind:
        location = f"{path}.{key}" if path else f'"{key}"'
        raise InputError(f"{location} is {_kind(fields[key])}; expected {_KINDS[kind]}.")
    return fields[key]


def _flag(fields: dict[str, Any], path: str, key: str) -> bool:
    return bool(_get(fields, path, key, bool)) if key in fields else False


def _one_of(fields: dict[str, Any], path: str, key: str, valid: tuple[str, ...]) -> str:
    value: str = _get(fields, path, key, str)
    if value not in valid:
        location = f"{path}.{key}" if path else f'"{key}"'
        raise InputError(f"{location} is {value!r:.60}; valid: {', '.join(valid)}.")
    return value


def _integer(fields: dict[str, Any], path: str, key: str, below: int = _MAX_INT) -> int:
    if key not in fields:
        raise InputError(f'{path} has no "{key}".')
    value = fields[key]
    if type(value) is not int:
        raise InputError(f"{path}.{key} is {_kind(value)}; expected an integer.")
    if not 0 <= value < below:
        printed = value if abs(value) < _MAX_INT else "a huge number"
        raise InputError(f"{path}.{key} is {printed}, out of range (0 to {below - 1}).")
    return value


def _kind(value: object, null_name: str = "missing or null") -> str:
    if value is None:
        return null_name
    return _KINDS.get(type(value), "a number")


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


def numbers(name: str, value: object, shape: Sequence[int | None], *, null: float) -> Array:
    """Return nested lists of numbers as a float64 array.

    Args:
        name: The name of the field, for errors.
        shape: The expected shape, with None for any length.
        null: The value of a null: -inf where masked, NaN where missing.

    Raises:
        InputError: The shape differs, or a number exceeds float32.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (ValueError, OverflowError, TypeError) as error:
        raise InputError(f"{name} is not an array of numbers.") from error
    fits = len(shape) == array.ndim and all(
        n in (None, m) for n, m in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(f"{name} has shape {list(array.shape)}; expected [{expected}].")
    return np.where(np.isnan(array), null, array)
