"""Model folders, written atomically; the learned heads and training state in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.atomic_files import folder_lock, place_file, placed_folder, sync
from qkv_cli.errors import CheckpointError, StoreError
from qkv_cli.formats.folder import WEIGHTS, named_file, read_json
from qkv_cli.formats.ngrams import NGRAMS
from qkv_cli.formats.safetensors import open_arrays, write_tensors
from qkv_cli.formats.tokenizers.words import build_splitter, find_cut_words, pack_words

PROVENANCE = "source.json"
_MARKS = ("config.json", PROVENANCE)  # a folder with one of them is a model


@contextmanager
def place_model(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `folder` when the block succeeds.

    Raises:
        StoreError: `folder` exists and is not a model, or it cannot be written.
    """
    try:
        with placed_folder(folder, _check_replaceable) as temporary:
            yield temporary
    except OSError as error:
        raise StoreError(f"Could not write {folder}: {error.strerror or error}.") from error


@contextmanager
def lock_for_writing(folder: Path) -> Iterator[None]:
    """Lock a model folder against other qkv processes that would write it.

    Raises:
        StoreError: Another process is writing it, or the lock cannot be created.
    """
    try:
        with folder_lock(folder):
            yield
    except OSError as error:
        raise StoreError(f"Could not write {folder}: {error.strerror or error}.") from error


def _check_replaceable(folder: Path) -> None:
    if os.path.lexists(folder) and not any((folder / name).is_file() for name in _MARKS):
        raise StoreError(f"{folder} already exists and is not a model folder; it was not replaced.")


def write_provenance(folder: Path, facts: Mapping[str, object]) -> None:
    """Write a folder's source.json."""
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (folder / PROVENANCE).write_text(text, encoding="utf-8")


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, as a copy-on-write clone if the file system supports it."""
    with source.open("rb") as source_file, target.open("wb") as target_file:
        if not _shares_blocks(source_file.fileno(), target_file.fileno()):
            shutil.copyfileobj(source_file, target_file, 1 << 20)


def _shares_blocks(source: int, target: int) -> bool:
    if sys.platform != "linux":
        return False
    from fcntl import ioctl

    try:
        ioctl(target, 0x40049409, source)  # FICLONE
    except OSError:
        return False
    return True


def write_vectors(
    folder: Path,
    words: Sequence[str],
    tensors: Mapping[str, NDArray[Any]],
    *,
    lowercase: bool,
    joins_pieces: bool = False,
) -> None:
    """Write vectors.safetensors and tokenizer.json.

    Args:
        tensors: embed.weight, [len(words) + 1, d_model], with the last row for unknown words, and
            embed.scale, [len(words) + 1], if the weight is int8.
        lowercase: Whether text is lower-cased before it is split.
        joins_pieces: Whether words are first looked up as written, and words of several pieces
            are found; if not, as in version 0.1 (see `formats.tokenizers.words`).
    """
    splitter_json, lists = build_splitter(lowercase=lowercase), pack_words(words)
    if joins_pieces:
        lists["words.cut"] = find_cut_words(splitter_json, words, lists["words.order"])
    write_tensors(folder / "vectors.safetensors", {**tensors, **lists})
    (folder / "tokenizer.json").write_text(splitter_json.to_str(pretty=True), encoding="utf-8")


def write_heads(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> None:
    """Write model.safetensors and config.json."""
    write_tensors(folder / "model.safetensors", tensors)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


TRAINING_STATE = "training.safetensors"  # the state that --resume needs
_SHARED = ("vectors.safetensors", "tokenizer.json", NGRAMS)
_CHECKPOINT = re.compile(r"(?:model|training)(?:-(\d{1,9}))?\.safetensors")


def write_first_checkpoint(
    vectors: Path,
    folder: Path,
    config: Mapping[str, Any],
    heads: Mapping[str, NDArray[Any]],
    run: Mapping[str, NDArray[Any]],
) -> None:
    """Write a model folder with the vectors of another one, replacing `folder`.

    Raises:
        StoreError: It cannot be written; `folder` is unchanged.
    """
    with place_model(folder) as temporary:
        for name in _SHARED:
            if name != NGRAMS or (vectors / name).is_file():
                copy_file(vectors / name, temporary / name)
        write_heads(temporary, config, heads)
        write_tensors(temporary / TRAINING_STATE, run)


def write_next_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    heads: Mapping[str, NDArray[Any]],
    run: Mapping[str, NDArray[Any]],
) -> None:
    """Write a checkpoint into a folder, keeping its vectors.

    The files of the previous checkpoint are kept for processes that are reading them; older ones
    are deleted.

    Raises:
        StoreError: It cannot be written; the folder keeps its checkpoint.
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
        previous_names = _current_files(folder)
        place_file(folder / "config.json", [text.encode()])
        _remove_others(folder, {*previous_names, *names.values()})
    except OSError as error:
        raise StoreError(f"Could not write {folder}: {error.strerror or error}.") from error


def remove_old_checkpoints(folder: Path) -> None:
    """Delete the files of all checkpoints except the one that config.json names.

    Raises:
        StoreError: They cannot be deleted.
    """
    try:
        _remove_others(folder, _current_files(folder))
    except OSError as error:
        raise StoreError(f"Could not write {folder}: {error.strerror or error}.") from error


def read_training_state(folder: Path) -> dict[str, NDArray[Any]]:
    """Return the saved state of a run, as copies.

    Raises:
        CheckpointError: There is none, or its file is corrupt.
    """
    path = folder / TRAINING_STATE
    if (folder / "config.json").is_file():
        path = named_file(folder, read_json(folder / "config.json"), "training", TRAINING_STATE)
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {path.name}, so no run can be resumed.")
    return {name: np.array(tensor) for name, tensor in open_arrays(path).items()}


def _current_files(folder: Path) -> set[str]:
    """Return the file names of the checkpoint that config.json names."""
    config = read_json(folder / "config.json")
    defaults = {"weights": WEIGHTS, "training": TRAINING_STATE}
    return {named_file(folder, config, key, name).name for key, name in defaults.items()}


def _checkpoints(folder: Path) -> dict[str, int]:
    """Return the checkpoint files in a folder, with their numbers."""
    matches = {path.name: _CHECKPOINT.fullmatch(path.name) for path in folder.iterdir()}
    return {name: int(match[1] or 1) for name, match in matches.items() if match is not None}


def _remove_others(folder: Path, kept_names: set[str]) -> None:
    for name in _checkpoints(folder).keys() - kept_names:
        (folder / name).unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return _digest(path, "sha256")


def check_checksum(
    path: Path, expected_digest: str, *, name: str | None = None, algorithm: str = "sha256"
) -> None:
    """Check the checksum of a file.

    Args:
        name: The name of the file in errors.

    Raises:
        StoreError: The checksum differs.
    """
    digest = _digest(path, algorithm)
    if digest != expected_digest:
        raise StoreError(
            f"{name or path.name} has {algorithm} {digest}; expected {expected_digest}. "
            "It is not used."
        )


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
