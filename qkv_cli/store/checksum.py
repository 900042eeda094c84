"""Whether a file is the one that was meant."""

from __future__ import annotations

import hashlib
from pathlib import Path

from qkv_cli.errors import StoreError


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, expected: str, *, called: str | None = None) -> None:
    """Raise a StoreError where a file has another sha256."""
    found = sha256(path)
    if found != expected:
        raise StoreError(
            f"{called or path.name} has the sha256 {found}, not {expected}: it was not taken."
        )
