"""Learned heads beside the vectors they read: every file whole, or as it was before."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.errors import CheckpointError, StoreError
from qkv_cli.formats.safetensors import open_arrays, write_tensors
from qkv_cli.loading import NGRAMS
from qkv_cli.store.folder import linked, placed, write_heads

RUN = "training.safetensors"  # what a run of learning needs to be gone on with
_SHARED = ("vectors.safetensors", "tokenizer.json", NGRAMS)


def begin_heads(
    vectors: Path,
    folder: Path,
    config: Mapping[str, Any],
    heads: Mapping[str, NDArray[Any]],
    run: Mapping[str, NDArray[Any]],
) -> None:
    """A model folder with another's vectors; it takes the place of what `folder` was."""
    with placed(folder) as temporary:
        for name in _SHARED:
            if name == NGRAMS and not (vectors / name).is_file():
                continue
            linked(vectors / name, temporary / name)
        write_heads(temporary, config, heads)
        write_tensors(temporary / RUN, run)


def replace_heads(
    folder: Path,
    config: Mapping[str, Any],
    heads: Mapping[str, NDArray[Any]],
    run: Mapping[str, NDArray[Any]],
) -> None:
    """New heads in a folder whose vectors stay: a checkpoint of a run.

    Raises:
        StoreError: The disk does not take them; the folder has what it had.
    """
    part = folder / ".next"
    try:
        part.mkdir(exist_ok=True)
        write_heads(part, config, heads)
        write_tensors(part / RUN, run)
        for path in part.iterdir():
            path.replace(folder / path.name)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read_run(folder: Path) -> dict[str, NDArray[Any]]:
    """What `begin_heads` saved of a run, as arrays of their own.

    Raises:
        CheckpointError: There is none.
    """
    if not (folder / RUN).is_file():
        raise CheckpointError(f"{folder} has no {RUN}: there is no run to go on with.")
    return {name: np.array(tensor) for name, tensor in open_arrays(folder / RUN).items()}
