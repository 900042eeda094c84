"""Writing a model folder: all of it, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qkv_cli.errors import StoreError
from qkv_cli.formats.safetensors import write_tensors
from qkv_cli.formats.words import cut_words, pack_words, splitter

PROVENANCE = "source.json"
_MARKS = ("config.json", PROVENANCE)  # one of them makes a folder a model's


@contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which takes its place when the block ends well.

    Raises:
        StoreError: `folder` exists and is no model, or the disk does not take it.
    """
    if folder.exists() and not any((folder / name).is_file() for name in _MARKS):
        raise StoreError(f"{folder} exists and is no model folder; it was left as it is.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}.") from error


def sign(folder: Path, facts: Mapping[str, object]) -> None:
    """Say in a folder where it came from."""
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (folder / PROVENANCE).write_text(text, encoding="utf-8")


def linked(source: Path, target: Path) -> None:
    """The same bytes at no cost where the disk can, a copy where it cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


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
    split.save(str(folder / "tokenizer.json"))


def write_heads(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> None:
    """model.safetensors and config.json."""
    write_tensors(folder / "model.safetensors", tensors)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
