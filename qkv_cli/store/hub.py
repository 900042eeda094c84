"""Models on the Hugging Face hub, and those that its cache already has."""

from __future__ import annotations

import os
from pathlib import Path

from qkv_cli.errors import StoreError
from qkv_cli.store.checksum import check

# What a model is read from; never a pickle.
PATTERNS = [
    "config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "*.spm",
    "*.model",
    "model*.safetensors",
    "model.safetensors.index.json",
    "generation_config.json",
]
SECONDS = 10.0  # to wait for the hub's first answer


def cached(name: str) -> Path | None:
    """The folder of a hub id in the cache, without asking anybody."""
    if not name or name.startswith((".", "/")) or name.count("/") > 1:
        return None
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    repository = cache / f"models--{name.replace('/', '--')}"
    try:
        revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = repository / "snapshots" / revision
    return snapshot if (snapshot / "config.json").is_file() else None


def fetch(name: str) -> Path:
    """Download a model into the hub's cache, or find it there; every large file checked.

    Raises:
        StoreError: The hub cannot be reached, has no such model, or sent other bytes.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=PATTERNS, etag_timeout=SECONDS))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        # Behind a network's own words the library explains its cache at length.
        said = " ".join(str(error).split()).partition(" An error happened")[0].rstrip(".")
        raise StoreError(f"{name} cannot be had from the hub: {said}.") from error
    for path in folder.iterdir():
        blob = path.resolve()
        if len(blob.name) == 64:  # the cache names large files by their sha256
            check(blob, blob.name, called=path.name)
    return folder
