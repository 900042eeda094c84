"""Models on the Hugging Face hub, and those in its cache."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from qkv_cli.errors import StoreError

# The files of a model; never a pickle.
PATTERNS = [
    "config.json",
    "tokenizer*",
    "added_tokens.json",
    "vocab*",
    "target_vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "*.spm",
    "*.model",
    "model*.safetensors",
    "model.safetensors.index.json",
    "generation_config.json",
]
SECONDS = 10.0  # to wait for the hub's first response
_YES = ("1", "on", "yes", "true")


@dataclass(frozen=True, slots=True)
class Offer:
    """Information about a model on the hub, before it is downloaded."""

    licence: str
    n_bytes: int  # of the files to download


def is_offline() -> bool:
    """Whether offline mode is set."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.lower() in _YES


def cached_folder(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of a hub id in the cache, without network access."""
    if not name or name.startswith((".", "/")) or name.count("/") > 1:
        return None
    repository = _cache() / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / (revision or _revision(repository))
    return snapshot if (snapshot / "config.json").is_file() else None


def cached_weights(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of a hub id in the cache, if it has weights and not only a config."""
    folder = cached_folder(name, revision)
    return folder if folder is not None and any(folder.glob("model*.safetensors")) else None


def cached_names() -> list[str]:
    """Return the hub ids whose weights are in the cache."""
    names = [
        repository.name.removeprefix("models--").replace("--", "/")
        for repository in sorted(_cache().glob("models--*/"))
    ]
    return [name for name in names if cached_weights(name) is not None]


def request_offer(name: str, revision: str | None = None) -> Offer:
    """Ask the hub for the licence and size of a model.

    Raises:
        StoreError: The hub cannot be reached, has no such model, or has only a pickle of it.
    """
    from huggingface_hub import HfApi

    if is_offline():
        raise StoreError(
            f"{name} is not in the Hugging Face cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE "
            "is set."
        )
    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=SECONDS)
    except Exception as error:  # their classes depend on the version of huggingface_hub
        raise _hub_error(name, error) from error
    sizes = {
        file.rfilename: file.size or 0
        for file in info.siblings or ()
        if any(fnmatchcase(file.rfilename, pattern) for pattern in PATTERNS)
    }
    if not any(file.endswith(".safetensors") for file in sizes):
        raise StoreError(
            f"{name} has no safetensors file on the hub, and qkv does not download pickles. If you "
            "trust its author, convert it with save_pretrained(...) of transformers."
        )
    card = info.card_data
    return Offer(str((card and card.get("license")) or "not stated"), sum(sizes.values()))


def fetch_repository(name: str, revision: str | None = None) -> Path:
    """Download a model into the hub's cache, or find it there; large files are checked.

    An interrupted download is resumed.

    Raises:
        StoreError: The hub cannot be reached, has no such model, or a checksum differs.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from qkv_cli.store.folder import check_checksum

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it retries by itself
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        folder = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=PATTERNS, etag_timeout=SECONDS
            )
        )
    except Exception as error:  # their classes depend on the version of huggingface_hub
        raise _hub_error(name, error) from error
    for path in folder.iterdir():
        blob = path.resolve()
        if len(blob.name) == 64:  # the cache names large files by their sha256
            check_checksum(blob, blob.name, name=path.name)
    return folder


def _cache() -> Path:
    """Return the cache folder of huggingface_hub, without importing it."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{caches}/huggingface"
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(cache or f"{home}/hub")).expanduser()


def _revision(repository: Path) -> str:
    try:
        return (repository / "refs" / "main").read_text(encoding="utf-8").strip() or "-"
    except (OSError, UnicodeDecodeError):
        return "-"


def _hub_error(name: str, error: Exception) -> StoreError:
    # After the network's message, the library adds a long explanation of its cache.
    reason = " ".join(str(error).split()).partition(" An error happened")[0].rstrip(".")
    return StoreError(f"Could not download {name} from the hub: {reason or type(error).__name__}.")
