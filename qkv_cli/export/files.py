"""Placing a file: all of it, or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def place(path: Path, pieces: Iterable[bytes]) -> None:
    """Write beside `path`, then take its place; a failure or Ctrl-C leaves what was there.

    A link stays one and its target is replaced; a device or a pipe is written to.

    Raises:
        OSError: Named after `path`, whatever the temporary file was called.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                file.writelines(pieces)
            return
        number, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(number, "wb") as file:
                file.writelines(pieces)
            temporary.chmod(_mode(target))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _mode(target: Path) -> int:
    """The mode of the file that is replaced, else what a new file gets."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
