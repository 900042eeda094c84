"""GGUF files on disk: recognised by their first bytes, and the parts of a split one.

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
    """Whether a file begins as a GGUF file does, or is named as one."""
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
    """A file's name without its suffix and, of a part, without its number."""
    match = _PART.fullmatch(path.name)
    return path.stem if match is None else match[1]


def without_later_parts(paths: Iterable[Path]) -> list[Path]:
    """The files of a folder, of each split model only the first part that is present."""
    first: dict[object, Path] = {}
    for path in sorted(paths):
        match = _PART.fullmatch(path.name)
        first.setdefault(path if match is None else (match[1], match[3]), path)
    return list(first.values())


def present_parts(path: Path) -> list[Path]:
    """A file and, if it is named as a part, the other parts of the same model in its folder."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    named = (_PART.fullmatch(other.name) for other in path.parent.iterdir())
    names = (m[0] for m in named if m is not None and (m[1], m[3]) == (match[1], match[3]))
    return [path.with_name(name) for name in sorted(names)]


def every_part(path: Path, no: int, count: int) -> list[Path]:
    """All parts of a split model, in order.

    Args:
        no, count: What the part at `path` says of itself; `no` counts from 0.

    Raises:
        CheckpointError: Its name is not that of this part, or another part is missing.
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
