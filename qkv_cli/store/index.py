"""Where a package index keeps a wheel, so that fetching it can go on where it stopped.

The simple repository API, as JSON (PEP 691) or as a page of links (PEP 503).
"""

from __future__ import annotations

import email.parser
import html
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from qkv_cli.core.strict_json import parse
from qkv_cli.errors import StoreError
from qkv_cli.store.download import MAX_FILE, OversizedAnswerError, read, shown

PYPI = "https://pypi.org/simple"
_JSON = "application/vnd.pypi.simple.v1+json"
_LINK = re.compile(r"""<a\s[^<>]{0,4000}?\bhref\s*=\s*["']([^"'<>]+)["']""", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_METADATA = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Wheel:
    url: str
    sha256: str
    n_bytes: int | None  # where the index says

    @property
    def file_name(self) -> str:
        """As the index calls it: to tell wheels apart, never to write to."""
        return unquote(self.url.rpartition("/")[2])


def lookup(requirement: str, sha256: str | None = None) -> Wheel | None:
    """NAME==VERSION in the index that pip is set to; None where that is for pip to find out.

    A wheel for every platform, else the smallest: nothing in it is run.

    Args:
        sha256: Only the wheel with this checksum: those of one version may differ.

    Raises:
        StoreError: The index answers, but not with a page of this kind.
    """
    name, _, version = requirement.partition("==")
    index = _index()
    if index is None:
        return None
    page = f"{index.rstrip('/')}/{re.sub(r'[-_.]+', '-', name).lower()}/"
    try:
        body, kind = read(page, f"{_JSON}, text/html;q=0.1")
    except OversizedAnswerError:
        raise
    except StoreError:  # pip may know a password or a proxy
        return None
    wheels = _from_json(page, body) if kind == _JSON else _from_html(page, body)
    start = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}-"
    found = [w for w in wheels if w.file_name.lower().startswith(start)]
    found = [w for w in found if _SHA256.fullmatch(w.sha256) and sha256 in (None, w.sha256)]
    return min(found, key=_preference, default=None)


def licence(wheel: Wheel) -> str | None:
    """What a wheel's metadata say of its licence, where the index has them beside it (PEP 658)."""
    try:
        body, _ = read(f"{wheel.url}.metadata", limit=_MAX_METADATA)
    except StoreError:
        return None
    said = email.parser.BytesParser().parsebytes(body)
    classifiers = [str(c) for c in said.get_all("Classifier", [])]
    named = [c.rpartition(" :: ")[2] for c in classifiers if "License ::" in c]
    found = said.get("License-Expression") or ", ".join(named) or said.get("License") or ""
    return str(found).strip().partition("\n")[0][:100] or None


def _preference(wheel: Wheel) -> tuple[bool, int]:
    return not wheel.file_name.endswith("-none-any.whl"), wheel.n_bytes or 0


def _index() -> str | None:
    if os.environ.get("PIP_NO_INDEX"):
        return None
    if own := os.environ.get("PIP_INDEX_URL"):
        return own
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    found = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return found.stdout.strip() or PYPI


def _from_json(page: str, body: bytes) -> list[Wheel]:
    """Raises a StoreError where the page is no JSON of this kind."""
    try:
        files = parse(body)["files"]
        return [wheel for file in files if (wheel := _from_entry(page, file)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{shown(page)} is not a valid page of a package index.") from error


def _from_entry(page: str, file: dict[str, Any]) -> Wheel | None:
    if not str(file["filename"]).endswith(".whl"):
        return None
    size = file.get("size")
    n_bytes = size if type(size) is int and 0 < size < MAX_FILE else None
    return Wheel(urljoin(page, file["url"]), str(file["hashes"].get("sha256")), n_bytes)


def _from_html(page: str, body: bytes) -> list[Wheel]:
    """Raises a StoreError where a link is no URL."""
    found = []
    for link in _LINK.findall(body.decode(errors="replace")):
        try:
            url, mark = urldefrag(urljoin(page, html.unescape(link)))
        except ValueError as error:
            raise StoreError(f"{shown(page)} has a link that is not a valid URL.") from error
        sha256 = mark.removeprefix("sha256=") if mark.startswith("sha256=") else ""
        if url.endswith(".whl"):
            found.append(Wheel(url, sha256, None))
    return found
