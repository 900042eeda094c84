"""`qkv models`."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

pytest.importorskip("gensim")
Qkv = Callable[..., Result]
VECTORS = "4 3\nriver 1 0 0\nbank 0.5 0.5 0\nmoney 0 1 0\nboat 0.9 0.1 0.2\n"


@pytest.fixture
def home(tmp_path: Path, qkv: Qkv, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store with a model `web`."""
    monkeypatch.setenv("QKV_HOME", str(tmp_path / "home"))
    (tmp_path / "v.txt").write_text(VECTORS)
    assert qkv("models", "add", "web", "--vectors", tmp_path / "v.txt").code == 0
    return tmp_path


def test_attend_with_added_vectors_weights_words_by_similarity(home: Path, qkv: Qkv) -> None:
    """Hand arithmetic: Q = K = V = e over centred vectors of unit root mean square."""
    import numpy as np

    result = qkv("attend", "-m", "web", "river money boat", "--json")
    document = json.loads(result.stdout)
    rows = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0.9, 0.1, 0.2]])
    e = rows[[0, 2, 3]] - rows.mean(axis=0)
    e /= np.sqrt((e**2).mean(axis=1, keepdims=True))
    scores = e @ e.T / np.sqrt(3)
    np.fill_diagonal(scores, -np.inf)
    exps = np.exp(scores)
    pattern = exps / exps.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(document["maps"][0]["pattern"], pattern, atol=1e-5)
    assert "identity" in document["model"]["origin"]


def test_attend_with_word_unknown_to_added_model_reports_it(home: Path, qkv: Qkv) -> None:
    result = qkv("attend", "-m", "web", "river zyx", "--json")
    assert result.code == 0
    assert "1 word is unknown to web: zyx." in result.stderr


def test_models_list_show_path_and_rm_manage_added_model(home: Path, qkv: Qkv) -> None:
    rows = json.loads(qkv("models", "list", "--json").stdout)["models"]
    assert [row["name"] for row in rows] == ["glove", "web"]
    assert "web" in qkv("models", "list").stdout
    info = json.loads(qkv("models", "show", "web", "--json").stdout)
    assert info["d_model"] == 3
    folder = Path(qkv("models", "path", "web").stdout.strip())
    assert folder == home / "home" / "models" / "web"
    refused = qkv("models", "rm", "web")
    assert (refused.code, folder.is_dir()) == (2, True)
    assert qkv("models", "rm", "web", "--yes").code == 0
    assert not folder.exists()
    assert qkv("models", "rm", "glove", "--yes").code == 2
    assert "cannot be removed" in qkv("models", "rm", "glove").stderr
    for name in ("", ".", ".."):
        assert f"{name!r} is not a model name" in qkv("models", "rm", name).stderr


def test_models_list_with_broken_model_warns_and_lists_others(home: Path, qkv: Qkv) -> None:
    (home / "home" / "models" / "web" / "config.json").write_text("{")
    result = qkv("models", "list")
    assert "glove" in result.stdout
    assert "not valid JSON" in result.stderr


def test_attend_with_misspelled_model_suggests_closest_name(home: Path, qkv: Qkv) -> None:
    result = qkv("attend", "-m", "wep", "river")
    assert result.code == 2
    assert result.stderr == (
        "qkv: Unknown model 'wep'; available: glove, web. Did you mean 'web'?\n"
    )


def test_models_neighbors_ranks_by_cosine_and_refuses_unknown_words(home: Path, qkv: Qkv) -> None:
    result = qkv("models", "neighbors", "web", "river", "-n", 2)
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["boat", "bank"]
    document = json.loads(qkv("models", "neighbors", "web", "river", "--json").stdout)
    assert document["neighbors"][0]["cosine"] == pytest.approx(0.9 / 0.86**0.5, abs=1e-5)
    assert qkv("models", "neighbors", "web", "zyx").code == 2
    assert qkv("models", "neighbors", "web", "river bank").code == 2


def test_models_add_of_existing_name_needs_force(home: Path, qkv: Qkv) -> None:
    command = ["models", "add", "web", "--vectors", home / "v.txt"]
    assert qkv(*command).code == 2
    assert qkv(*command, "--force", "--limit", 2).stdout.endswith("2 words.\n")


def test_models_add_reads_gzip_and_names_truncated_file(home: Path, qkv: Qkv) -> None:
    packed = home / "v.txt.gz"
    packed.write_bytes(gzip.compress(VECTORS.encode()))
    assert qkv("models", "add", "zipped", "--vectors", packed).code == 0
    packed.write_bytes(packed.read_bytes()[:-9])
    refused = qkv("models", "add", "cut", "--vectors", packed)
    assert refused.code == 2
    assert str(packed) in refused.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04K\x01.", "--allow-pickle"),
        (b"9 3\nriver 1 0 0\n", "states 9 words; found 1"),
        (b"not vectors at all\n", "not a file of word vectors"),
        (b"", "is empty"),
    ],
)
def test_models_add_of_invalid_file_leaves_store_unchanged(
    home: Path, qkv: Qkv, content: bytes, message: str
) -> None:
    (home / "bad").write_bytes(content)
    before = sorted((home / "home" / "models").iterdir())
    result = qkv("models", "add", "bad", "--vectors", home / "bad")
    assert result.code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted((home / "home" / "models").iterdir()) == before


def test_models_add_with_missing_file_reserved_name_or_bad_encoding_exits_2(
    home: Path, qkv: Qkv
) -> None:
    assert qkv("models", "add", "x", "--vectors", home / "none").code == 2
    assert qkv("models", "add", "glove", "--vectors", home / "v.txt").code == 2
    assert qkv("models", "add", "x", "--vectors", home / "v.txt", "--encoding", "utf8x").code == 2


def test_models_add_on_full_disk_exits_2_and_leaves_store_unchanged(home: Path) -> None:
    """A limit on file sizes simulates the full disk."""
    big = home / "big.txt"
    big.write_text("".join(f"w{i} {i} 1 2 3 4 5 6 7\n" for i in range(9000)))

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    result = subprocess.run(
        [sys.executable, "-m", "qkv_cli", "models", "add", "big", "--vectors", str(big)],
        capture_output=True,
        text=True,
        preexec_fn=small_files,
        env=os.environ,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("qkv: ")
    assert "File too large" in result.stderr
    assert [p.name for p in (home / "home" / "models").iterdir()] == ["web"]


def test_models_show_and_check_into_pipe_do_not_wrap_long_lines(home: Path, qkv: Qkv) -> None:
    folder = home / "home" / "models" / "web"
    long = folder.parent / ("w" * 100)
    folder.rename(long)
    assert str(long) in qkv("models", "show", long).stdout
    assert len(qkv("models", "check", long).stdout.splitlines()) == 3
