"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from qkv_cli.errors import StoreError


def sha256(path: Path) -> str:
    return _digest(path, "sha256")


def check_checksum(
    path: Path, expected: str, *, called: str | None = None, algorithm: str = "sha256"
) -> None:
    """Raise a StoreError if a file has another checksum."""
    digest = _digest(path, algorithm)
    if digest != expected:
        raise StoreError(
            f"{called or path.name} has {algorithm} {digest}; expected {expected}. It is not used."
        )


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
