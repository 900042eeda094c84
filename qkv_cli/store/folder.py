"""Writing a model folder: all of it, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qkv_cli.errors import StoreError
from qkv_cli.formats.safetensors import write_tensors
from qkv_cli.formats.words import cut_words, pack_words, splitter
from qkv_cli.placement import alone, placed_folder

PROVENANCE = "source.json"
_MARKS = ("config.json", PROVENANCE)  # one of them makes a folder a model's


@contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which takes its place when the block ends well.

    Raises:
        StoreError: `folder` exists and is no model, or the disk does not take it.
    """
    try:
        with placed_folder(folder, _check_replaceable) as temporary:
            yield temporary
    except OSError as error:
        raise StoreError(f"Could not write {folder}: {error.strerror or error}.") from error


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Keep every other qkv that would write a model folder from it while the block lasts.

    Raises:
        StoreError: Another one is writing it, or the disk does not take the lock.
    """
    try:
        with alone(folder):
            yield
    except OSError as error:
        raise StoreError(f"Could not write {folder}: {error.strerror or error}.") from error


def _check_replaceable(folder: Path) -> None:
    if os.path.lexists(folder) and not any((folder / name).is_file() for name in _MARKS):
        raise StoreError(f"{folder} already exists and is not a model folder; it was not replaced.")


def sign(folder: Path, facts: Mapping[str, object]) -> None:
    """Say in a folder where it came from."""
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (folder / PROVENANCE).write_text(text, encoding="utf-8")


def copy(source: Path, target: Path) -> None:
    """Copy a file; where the disk can, both share their blocks until one is written to."""
    with source.open("rb") as read, target.open("wb") as written:
        if not _shares_blocks(read.fileno(), written.fileno()):
            shutil.copyfileobj(read, written, 1 << 20)


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
    """vectors.safetensors and tokenizer.json.

    Args:
        tensors: embed.weight, [len(words) + 1, d_model], its last row for unknown words;
            embed.scale, [len(words) + 1], where the weight is int8.
        lowercase: Whether a text is cut into pieces as it reads in lower case.
        joins_pieces: Whether words are looked up as written first, and those of several pieces
            are found; else as version 0.1 did, see `formats.words`.
    """
    split, lists = splitter(lowercase=lowercase), pack_words(words)
    if joins_pieces:
        lists["words.cut"] = cut_words(split, words, lists["words.order"])
    write_tensors(folder / "vectors.safetensors", {**tensors, **lists})
    (folder / "tokenizer.json").write_text(split.to_str(pretty=True), encoding="utf-8")


def write_heads(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> None:
    """model.safetensors and config.json."""
    write_tensors(folder / "model.safetensors", tensors)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
