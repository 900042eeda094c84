"""Learned heads beside the vectors they read: a checkpoint is there whole, or not at all.

Each checkpoint has file names of its own, and becomes the model's when config.json, which names
its files, is replaced: in one step, whenever a run is stopped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.errors import CheckpointError, StoreError
from qkv_cli.formats.checkpoints import WEIGHTS, read_json
from qkv_cli.formats.safetensors import open_arrays, write_tensors
from qkv_cli.loading import NGRAMS, named_file
from qkv_cli.placement import place_file, sync
from qkv_cli.store.folder import copy, placed, write_heads

RUN = "training.safetensors"  # the state that --resume needs
_SHARED = ("vectors.safetensors", "tokenizer.json", NGRAMS)
_CHECKPOINT = re.compile(r"(?:model|training)(?:-(\d{1,9}))?\.safetensors")


def begin_heads(
    vectors: Path,
    folder: Path,
    config: Mapping[str, Any],
    heads: Mapping[str, NDArray[Any]],
    run: Mapping[str, NDArray[Any]],
) -> None:
    """Write a model folder with another's vectors; it takes the place of what `folder` was.

    Raises:
        StoreError: The disk does not take it; the folder is what it was.
    """
    with placed(folder) as temporary:
        for name in _SHARED:
            if name != NGRAMS or (vectors / name).is_file():
                copy(vectors / name, temporary / name)
        write_heads(temporary, config, heads)
        write_tensors(temporary / RUN, run)


def replace_heads(
    folder: Path,
    config: Mapping[str, Any],
    heads: Mapping[str, NDArray[Any]],
    run: Mapping[str, NDArray[Any]],
) -> None:
    """Write a checkpoint into a folder whose vectors stay.

    The files of the checkpoint before it stay too, for who is reading them; older ones go.

    Raises:
        StoreError: The disk does not take it; the folder has the checkpoint that it had.
    """
    try:
        number = 1 + max(_checkpoints(folder).values(), default=1)
        names = {
            "weights": f"model-{number}.safetensors",
            "training": f"training-{number}.safetensors",
        }
        for name, tensors in zip(names.values(), (heads, run), strict=True):
            write_tensors(folder / name, tensors)
            sync(folder / name)
        text = json.dumps({**config, **names}, indent=2, ensure_ascii=False) + "\n"
        before = _files(folder)
        place_file(folder / "config.json", [text.encode()])
        _remove_others(folder, {*before, *names.values()})
    except OSError as error:
        raise StoreError(f"Could not write {folder}: {error.strerror or error}.") from error


def remove_earlier(folder: Path) -> None:
    """Delete the files of every checkpoint but the one that config.json names.

    Raises:
        StoreError: They cannot be deleted.
    """
    try:
        _remove_others(folder, _files(folder))
    except OSError as error:
        raise StoreError(f"Could not write {folder}: {error.strerror or error}.") from error


def read_run(folder: Path) -> dict[str, NDArray[Any]]:
    """The state of a run, as arrays of their own.

    Raises:
        CheckpointError: There is none, or its file is damaged.
    """
    path = folder / RUN
    if (folder / "config.json").is_file():
        path = named_file(folder, read_json(folder / "config.json"), "training", RUN)
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {path.name}, so no run can be resumed.")
    return {name: np.array(tensor) for name, tensor in open_arrays(path).items()}


def _files(folder: Path) -> set[str]:
    """The names of the files of the checkpoint that config.json names."""
    config = read_json(folder / "config.json")
    defaults = {"weights": WEIGHTS, "training": RUN}
    return {named_file(folder, config, key, name).name for key, name in defaults.items()}


def _checkpoints(folder: Path) -> dict[str, int]:
    """The files of checkpoints in a folder, each with its number."""
    found = {path.name: _CHECKPOINT.fullmatch(path.name) for path in folder.iterdir()}
    return {name: int(match[1] or 1) for name, match in found.items() if match is not None}


def _remove_others(folder: Path, kept: set[str]) -> None:
    for name in _checkpoints(folder).keys() - kept:
        (folder / name).unlink(missing_ok=True)
