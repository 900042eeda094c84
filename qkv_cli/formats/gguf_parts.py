"""GGUF files on disk: recognition, and the parts of split files.

A model that was split is stored as NAME-00001-of-00003.gguf and so on. The first part has all
settings, every part has split.no, counted from 0, and split.count.
Format: https://github.com/ggml-org/llama.cpp/tree/master/tools/gguf-split
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from qkv_cli.errors import CheckpointError

MAGIC = b"GGUF"
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


def is_gguf(path: Path) -> bool:
    """Whether a file starts like a GGUF file, or has its suffix."""
    if not path.is_file():
        return False
    if path.suffix == ".gguf":
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def model_name(path: Path) -> str:
    """Return a file's name without its suffix and part number."""
    match = _PART.fullmatch(path.name)
    return path.stem if match is None else match[1]


def without_later_parts(paths: Iterable[Path]) -> list[Path]:
    """Return the files of a folder, with only the first part of each split model."""
    first_parts: dict[object, Path] = {}
    for path in sorted(paths):
        match = _PART.fullmatch(path.name)
        first_parts.setdefault(path if match is None else (match[1], match[3]), path)
    return list(first_parts.values())


def present_parts(path: Path) -> list[Path]:
    """Return a file and, if it is a part, the other parts in its folder."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    matches = (_PART.fullmatch(sibling.name) for sibling in path.parent.iterdir())
    names = (m[0] for m in matches if m is not None and (m[1], m[3]) == (match[1], match[3]))
    return [path.with_name(name) for name in sorted(names)]


def every_part(path: Path, no: int, count: int) -> list[Path]:
    """Return all parts of a split model, in order.

    Args:
        no, count: The index of the part at `path`, from 0, and the number of parts.

    Raises:
        CheckpointError: The file has the name of another part, or a part is missing.
    """
    match = _PART.fullmatch(path.name)
    if match is None or (int(match[2]), int(match[3])) != (no + 1, count):
        raise CheckpointError(
            f"{path} is part {no + 1} of {count} of a split model, so its name must end in "
            f"-{no + 1:05}-of-{count:05}.gguf: rename it, or merge the parts with llama-gguf-split "
            "--merge."
        )
    parts = [path.with_name(f"{match[1]}-{i + 1:05}-of-{count:05}.gguf") for i in range(count)]
    for i, part in enumerate(parts):
        if not part.is_file():
            raise CheckpointError(
                f"{path} is part {no + 1} of {count} of a split model; part {i + 1}, {part.name}, "
                "is missing."
            )
    return parts
