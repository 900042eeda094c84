"""Model names: the folder of a model, and the names that exist."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from qkv_cli.atomic_files import folder_lock, remove_folder, sweep
from qkv_cli.errors import StoreError, UsageError
from qkv_cli.formats.gguf_parts import is_gguf, present_parts
from qkv_cli.store.hub import cached_folder
from qkv_cli.store.sources import SOURCES, VECTOR_SETS

EMBEDDED = Path(__file__).parent.parent / "models"  # the models in the package


def home() -> Path:
    """Return the store's folder: QKV_HOME, XDG_DATA_HOME/qkv or ~/.local/share/qkv."""
    if configured := os.environ.get("QKV_HOME"):
        return Path(configured)
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data_home) / "qkv"


def names() -> list[str]:
    """Return the names of installed models, the embedded ones first."""
    sweep(home() / "models")
    roots = (EMBEDDED, home() / "models")
    return [
        folder.name
        for root in roots
        for folder in sorted(root.glob("[!.]*/"))
        if any((folder / name).is_file() for name in ("config.json", "source.json"))
    ]


def find(name: str) -> Path:
    """Return the folder of a model.

    The name may be that of an embedded model or of one in the store, a path, or a hub id whose
    files are in the Hugging Face cache.

    Raises:
        StoreError: There is no such model; the error lists the names.
    """
    sweep(home() / "models")
    roots = (EMBEDDED, home() / "models") if Path(name).name == name != ".." else ()
    for folder in (*(root / name for root in roots), Path(name)):
        if folder.is_dir() or is_gguf(folder):
            return folder
    source = SOURCES.get(name)
    ids = [(name, None)] + ([(source.hub, source.revision)] if source and source.hub else [])
    for hub_id, revision in ids:
        if (snapshot := cached_folder(hub_id, revision)) is not None:
            return snapshot
    if source or name in VECTOR_SETS:
        raise StoreError(f"{name} is not downloaded yet; run: qkv models pull {name}")
    known_names = names()
    suggestions = difflib.get_close_matches(name, known_names, n=1)
    hint = f" Did you mean {suggestions[0]!r}?" if suggestions else ""
    raise StoreError(f"Unknown model {name!r}; available: {', '.join(known_names)}.{hint}")


def removable_folder(name: str) -> Path:
    """Return the folder of a model in the store, which can be deleted.

    Raises:
        UsageError: The model is embedded or not in the store.
        StoreError: There is no such model.
    """
    folder = home() / "models" / name
    if name in ("", ".", ".."):
        raise UsageError(f"{name!r} is not a model name; to list the models, run: qkv models list")
    if "/" not in name and (EMBEDDED / name).is_dir():
        raise UsageError(f"{name} is included in qkv and cannot be removed.")
    if folder.parent != home() / "models" or name not in names():
        existing = find(name)
        if cached_folder(name) == existing:
            raise UsageError(
                f"{name} is in the Hugging Face cache ({existing}): use `hf cache` to remove it."
            )
        raise UsageError(
            f"{name} is not in the model store ({home() / 'models'}); only models in it can be "
            "removed."
        )
    return folder


def remove(name: str) -> Path:
    """Delete a model of the store.

    Raises:
        QkvError: It cannot be deleted; see `removable_folder`.
    """
    folder = removable_folder(name)
    try:
        with folder_lock(folder):
            remove_folder(folder)
    except OSError as error:
        raise StoreError(f"Could not delete {folder}: {error.strerror}.") from error
    return folder


def size(folder: Path) -> int:
    """Return the bytes of a folder's files, or of a GGUF file with its other parts."""
    files = present_parts(folder) if folder.is_file() else folder.iterdir()
    return sum(path.stat().st_size for path in files if path.is_file())


def destination(name: str) -> Path:
    """Return the folder of a new or existing model: in the store, or at a path with a slash.

    Raises:
        UsageError: The name is that of the embedded model, or not a valid name.
    """
    if "/" in name or os.sep in name:
        return Path(name)
    if not name.strip() or name.startswith(".") or not name.isprintable():
        raise UsageError(
            f"{name!r} is not a valid model name: use letters, digits, - and _, or a path."
        )
    if (EMBEDDED / name).is_dir():
        raise UsageError(f"{name} is the name of the model included in qkv: choose another name.")
    return home() / "models" / name
