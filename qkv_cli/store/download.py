"""Downloads, resumed after interruptions.

Servers are not trusted: answers are limited in size and time, and files must match a checksum.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qkv_cli.errors import StoreError
from qkv_cli.store.folder import check_checksum

SECONDS = 20.0  # to wait for a response, and for each part of it
MAX_SECONDS = 120.0  # the maximum duration of a small response
MAX_BYTES = 32 * 2**20  # of a small response; the largest page of the package index has 10 MiB
MAX_FILE = 64 * 2**30  # bytes of a file of unknown size
_CHUNK = 1 << 18
_SCHEMES = ("https", "http")
_NETWORK = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)


class OversizedResponseError(StoreError):
    """A server sent more bytes than the limit."""


Advance = Callable[[int, int], object]  # bytes so far, bytes in all


def read_url(url: str, accept: str = "*/*", limit: int = MAX_BYTES) -> tuple[bytes, str]:
    """Read a small response, and return it with its content type.

    Raises:
        OversizedAnswerError: The response is larger than `limit`.
        StoreError: The network or the server fails.
    """
    try:
        with _open_url(url, {"Accept": accept}) as response:
            return _read_limited(response, url, limit), response.headers.get_content_type()
    except _NETWORK as error:
        raise StoreError(f"Could not download {shown_url(url)}: {_reason(error)}.") from error


def download(
    url: str,
    target: Path,
    algorithm: str,
    expected_digest: str,
    advance: Advance,
    n_bytes: int | None = None,
) -> None:
    """Download a file and verify its checksum; a partial download is kept next to it.

    Args:
        algorithm: sha256 or md5, whose result must be `expected`.
        n_bytes: The size of the file, if known, as the maximum.

    Raises:
        StoreError: The network fails, the disk is full, or the checksum differs.
    """
    partial = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(StoreError, FileNotFoundError):  # otherwise it would be downloaded again
            check_checksum(target, expected_digest, algorithm=algorithm)
            return
        _fetch(url, partial, advance, n_bytes or MAX_FILE)
        check_checksum(partial, expected_digest, name=target.name, algorithm=algorithm)
        partial.replace(target)
    except StoreError:
        partial.unlink(missing_ok=True)
        raise
    except _NETWORK as error:
        n_received = partial.stat().st_size if partial.is_file() else 0
        remainder = (
            f" {n_received / 2**20:.1f} MiB were kept: pull again to resume." if n_received else ""
        )
        raise StoreError(
            f"Could not download {shown_url(url)}: {_reason(error)}.{remainder}"
        ) from error
    except OSError as error:
        raise StoreError(f"Could not write {target}: {error.strerror or error}.") from error


def shown_url(url: str) -> str:
    """Return a URL for an error: without a password, and shortened."""
    scheme, mark, remainder = url.partition("://")
    host, slash, path = remainder.partition("/")
    without_password = f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
    return without_password if len(without_password) <= 200 else f"{without_password[:200]}..."


def _read_limited(response: Any, url: str, limit: int) -> bytes:
    end, chunks, n_bytes = time.monotonic() + MAX_SECONDS, [], 0
    while chunk := response.read1(_CHUNK):
        chunks.append(chunk)
        n_bytes += len(chunk)
        if n_bytes > limit:
            raise OversizedResponseError(
                f"{shown_url(url)} sent more than the maximum of {limit:,} bytes."
            )
        if time.monotonic() > end:
            raise TimeoutError(f"the response took longer than {MAX_SECONDS:.0f} s")
    return b"".join(chunks)


def _fetch(url: str, partial: Path, advance: Advance, limit: int) -> None:
    n_received = partial.stat().st_size if partial.is_file() else 0
    try:
        response = _open_url(url, {"Range": f"bytes={n_received}-"} if n_received else {})
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        response = _open_url(url, {})  # shorter than the partial download: start again
    with response:
        content_range = response.headers.get("Content-Range", "")
        resumes = response.status == 206 and content_range.startswith(f"bytes {n_received}-")
        n_received = n_received if resumes else 0
        total = n_received + (
            response.length or 0
        )  # the remaining Content-Length, if it is a number
        if total > limit:
            raise StoreError(f"{shown_url(url)} has {total:,} bytes; the maximum is {limit:,}.")
        with partial.open("ab" if resumes else "wb") as file:
            while chunk := response.read(_CHUNK):
                n_received += len(chunk)
                if n_received > limit:
                    raise StoreError(
                        f"{shown_url(url)} sent more than the maximum of {limit:,} bytes."
                    )
                file.write(chunk)
                advance(n_received, max(n_received, total))
    if n_received < total:
        raise ConnectionError(f"the connection closed after {n_received:,} of {total:,} bytes")


def _open_url(url: str, headers: dict[str, str]) -> Any:
    # With compression in transit, length and bytes would differ from the file's.
    headers = {"Accept-Encoding": "identity", **headers}
    try:
        if urlsplit(url).scheme not in _SCHEMES:
            raise urllib.error.URLError("only http and https URLs are supported")
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS)
    except ValueError as error:  # for an invalid URL, or a redirection to one
        raise urllib.error.URLError(str(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {str(error.reason)[:100]}"
    reason = getattr(error, "reason", None) or error
    return (str(reason) or type(error).__name__)[:200].rstrip(".")
