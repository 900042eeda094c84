"""Files from the network: one that was interrupted goes on where it stopped."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qkv_cli.errors import StoreError
from qkv_cli.store.checksum import check

SECONDS = 20.0  # to wait for an answer, and for more of it
_CHUNK = 1 << 18
_NETWORK = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)

Advance = Callable[[int, int], object]  # bytes that are there, bytes in all


def read(url: str, accept: str = "*/*") -> tuple[bytes, str]:
    """A small answer, and its content type.

    Raises:
        StoreError: The network or the other side fails.
    """
    try:
        with _opened(url, {"Accept": accept}) as answer:
            return answer.read(), answer.headers.get_content_type()
    except (ValueError, *_NETWORK) as error:
        raise StoreError(f"{url} cannot be had: {_why(error)}.") from error


def download(url: str, target: Path, algorithm: str, expected: str, advance: Advance) -> None:
    """A file, whole and with the right bytes, or not at all; what has come of it stays beside it.

    Args:
        algorithm: sha256 or md5, which must come out as `expected`.

    Raises:
        StoreError: The network fails, the disk is full, or other bytes came.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(StoreError, FileNotFoundError):  # or it is fetched again
            check(target, expected, algorithm=algorithm)
            return
        _fetch(url, part, advance)
        check(part, expected, called=target.name, algorithm=algorithm)
        part.replace(target)
    except StoreError:
        part.unlink(missing_ok=True)
        raise
    except _NETWORK as error:
        come = part.stat().st_size if part.is_file() else 0
        kept = f" {come / 2**20:.1f} MiB are kept: pull again to go on." if come else ""
        raise StoreError(f"{url} cannot be had: {_why(error)}.{kept}") from error
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}.") from error


def _fetch(url: str, part: Path, advance: Advance) -> None:
    come = part.stat().st_size if part.is_file() else 0
    try:
        answer = _opened(url, {"Range": f"bytes={come}-"} if come else {})
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        answer = _opened(url, {})  # shorter than what is here of it: begin again
    with answer:
        found = answer.headers.get("Content-Range", "")
        goes_on = answer.status == 206 and found.startswith(f"bytes {come}-")
        come = come if goes_on else 0
        total = come + int(answer.headers.get("Content-Length") or 0)
        with part.open("ab" if goes_on else "wb") as file:
            while piece := answer.read(_CHUNK):
                file.write(piece)
                come += len(piece)
                advance(come, max(come, total))
    if come < total:
        raise ConnectionError(f"the answer stopped after {come:,} of {total:,} bytes")


def _opened(url: str, headers: dict[str, str]) -> Any:
    # Compressed on the way, neither its length nor its bytes would be the file's.
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", **headers})
    return urllib.request.urlopen(request, timeout=SECONDS)


def _why(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the answer is {error.code} {error.reason}"
    return str(getattr(error, "reason", None) or error or type(error).__name__).rstrip(".")
