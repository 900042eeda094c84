"""Where a package index keeps a wheel, so that fetching it can go on where it stopped.

The simple repository API, as JSON (PEP 691) or as a page of links (PEP 503).
"""

from __future__ import annotations

import email.parser
import html
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import unquote, urldefrag, urljoin

from qkv_cli.errors import StoreError
from qkv_cli.store.download import read

PYPI = "https://pypi.org/simple"
_JSON = "application/vnd.pypi.simple.v1+json"
_LINK = re.compile(r"""<a\b[^>]*?\bhref\s*=\s*["']([^"']+)["']""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wheel:
    url: str
    sha256: str
    n_bytes: int | None  # where the index says

    @property
    def file_name(self) -> str:
        return unquote(self.url.rpartition("/")[2])


def lookup(requirement: str) -> Wheel | None:
    """NAME==VERSION in the index that pip is set to; None where that is for pip to find out.

    A wheel for every platform, else the smallest: nothing in it is run.
    """
    name, _, version = requirement.partition("==")
    index = _index()
    if index is None:
        return None
    page = f"{index.rstrip('/')}/{re.sub(r'[-_.]+', '-', name).lower()}/"
    try:
        body, kind = read(page, f"{_JSON}, text/html;q=0.1")
        wheels = _from_json(page, body) if kind == _JSON else _from_html(page, body)
    except (StoreError, ValueError, KeyError, TypeError, AttributeError):
        return None
    start = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}-"
    found = [w for w in wheels if w.sha256 and w.file_name.lower().startswith(start)]
    return min(found, key=_preference, default=None)


def licence(wheel: Wheel) -> str | None:
    """What a wheel's metadata say of its licence, where the index has them beside it (PEP 658)."""
    try:
        body, _ = read(f"{wheel.url}.metadata")
    except StoreError:
        return None
    said = email.parser.BytesParser().parsebytes(body)
    named = [c.rpartition(" :: ")[2] for c in said.get_all("Classifier", []) if "License ::" in c]
    found = said.get("License-Expression") or ", ".join(named) or said.get("License") or ""
    return str(found).strip().partition("\n")[0] or None


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
    return [
        Wheel(urljoin(page, file["url"]), file["hashes"].get("sha256", ""), file.get("size"))
        for file in json.loads(body)["files"]
        if file["filename"].endswith(".whl")
    ]


def _from_html(page: str, body: bytes) -> list[Wheel]:
    found = []
    for link in _LINK.findall(body.decode(errors="replace")):
        url, mark = urldefrag(urljoin(page, html.unescape(link)))
        sha256 = mark.removeprefix("sha256=") if mark.startswith("sha256=") else ""
        if url.endswith(".whl"):
            found.append(Wheel(url, sha256, None))
    return found
