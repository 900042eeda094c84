"""Folders in the Hugging Face layout: a config, and tensors in one or several files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qkv_cli.core.arrays import Stored
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.safetensors import open_tensors
from qkv_cli.strict_json import parse

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.safetensors")
_PICKLED = "pytorch_model*.bin"  # one file, or shards
# The names of LayerNorm's parameters in the first checkpoints.
_OLD = {".gamma": ".weight", ".beta": ".bias"}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: The file cannot be read, or is not a JSON object.
    """
    try:
        document = parse(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is not a JSON object.")
    return document


def open_checkpoint(folder: Path) -> dict[str, Stored]:
    """Return all tensors by name, memory-mapped.

    Raises:
        CheckpointError: There are none, a shard is missing, or there is only a pickle.
    """
    if (folder / WEIGHTS).is_file():
        tensors = open_tensors(folder / WEIGHTS)
    elif (folder / INDEX).is_file():
        tensors = _open_shards(folder)
    elif pickles := sorted(folder.glob(_PICKLED)):
        raise CheckpointError(
            f"{pickles[0]} is a pickle, and loading a pickle can run any code; if you trust its "
            f"author, convert it to safetensors: cd {shlex.quote(str(folder))} && python -c "
            '"from transformers import AutoModel; '
            "AutoModel.from_pretrained('.').save_pretrained('.')\""
        )
    else:
        raise CheckpointError(
            f"{folder} is not a model folder: it has neither {WEIGHTS} nor {INDEX}."
        )
    return {_renamed(name): tensor for name, tensor in tensors.items()}


def _open_shards(folder: Path) -> dict[str, Stored]:
    file_of = read_json(folder / INDEX).get("weight_map")
    if not isinstance(file_of, dict) or not all(isinstance(p, str) for p in file_of.values()):
        raise CheckpointError(
            f"{folder / INDEX}: weight_map must be an object that maps tensor names to file names."
        )
    tensors: dict[str, Stored] = {}
    for name in sorted(set(file_of.values())):
        if Path(name).name != name:
            raise CheckpointError(
                f"{folder / INDEX}: weight_map names {name!r}; expected a file in the same folder."
            )
        tensors |= open_tensors(folder / name)
    if missing_names := sorted(set(file_of) - set(tensors)):
        raise CheckpointError(
            f"{folder / INDEX} lists tensor {missing_names[0]!r}, which its files do not contain."
        )
    return tensors


def _renamed(name: str) -> str:
    for old_suffix, new_suffix in _OLD.items():
        if "LayerNorm" in name and name.endswith(old_suffix):
            return name.removesuffix(old_suffix) + new_suffix
    return name


def named_file(folder: Path, config: Mapping[str, Any], key: str, default: str) -> Path:
    """Return a safetensors file of a word-vector model, with the name in its config.

    Raises:
        CheckpointError: The config contains an invalid file name.
    """
    name = config.get(key, default)
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise CheckpointError(
            f"{folder / 'config.json'} sets {key} to {name!r}; expected the name of a safetensors "
            "file."
        )
    return folder / name
