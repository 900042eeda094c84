"""`qkv train`: writes a model folder, also when resumed, interrupted or refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qkv_cli.formats.safetensors import open_tensors
from qkv_cli.session.load import load

LINES = [
    "the mango and the apple are fruits that grow on a tree",
    "she deposited the money in the bank",
    "the fisherman sat on the bank of the river",
    "a mango , an apple and a tree",
    "she sat in the tree",
    "the river did n't grow",
    "fruits grow on the bank of the river",
    "the fisherman and the mango",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


@pytest.fixture
def train(qkv: Callable, tiny_glove: Path, tmp_path: Path) -> Callable:
    def run(*args: object, **kwargs: object) -> object:
        return qkv("train", *args, "--vectors", tiny_glove, "--out", tmp_path / "mine", **kwargs)

    return run


def test_train_writes_model_that_attend_reads(
    train: Callable, qkv: Callable, corpus: Path, tmp_path: Path
) -> None:
    result = train(corpus, "--epochs", 4, "--heads", 3, "--d-head", 5)
    assert result.code == 0, result.stderr
    assert "3 heads of size 5" in result.stdout and "words/s" in result.stdout
    assert "Held-out accuracy" in result.stdout
    loaded = load(tmp_path / "mine")
    assert (loaded.info.n_heads, loaded.info.d_head) == (3, 5)
    assert loaded.info.origin == f"learned on {sum(len(x.split()) for x in LINES)} words of corpus"
    attended = qkv("attend", "the river bank", "-m", tmp_path / "mine", "--json")
    pattern = np.array(json.loads(attended.stdout)["maps"][2]["pattern"])
    assert np.allclose(pattern.sum(axis=1), 1, atol=1e-5)


def test_train_keeps_vectors_and_stores_mean_over_training_tokens(
    train: Callable, corpus: Path, tiny_glove: Path, tmp_path: Path
) -> None:
    assert train(corpus, "--epochs", 1).code == 0
    original, trained = load(tiny_glove), load(tmp_path / "mine")
    assert np.array_equal(original.model.embed.table, trained.model.embed.table)
    table = original.model.embed.table * original.model.embed.row_scale[:, None]
    # All sentences except the first, which is held out.
    ids = [token.id for line in LINES[1:] for token in original.tokenizer.encode(line)]
    assert np.allclose(trained.model.embed.mean, table[ids].mean(axis=0), atol=1e-5)


def test_train_with_same_seed_writes_identical_file(
    train: Callable, corpus: Path, tmp_path: Path
) -> None:
    heads = tmp_path / "mine" / "model.safetensors"
    assert train(corpus, "--epochs", 3, "--seed", 4).code == 0
    first = heads.read_bytes()
    assert train(corpus, "--epochs", 3, "--seed", 4, "--force").code == 0
    assert heads.read_bytes() == first
    assert train(corpus, "--epochs", 3, "--seed", 5, "--force").code == 0
    assert heads.read_bytes() != first


def test_train_with_resume_continues_from_saved_step(
    train: Callable, corpus: Path, tmp_path: Path
) -> None:
    assert train(corpus, "--epochs", 2, "--batch", 20).code == 0
    steps = open_tensors(tmp_path / "mine" / "training.safetensors")["run"][0]
    resumed = train(corpus, "--epochs", 2, "--batch", 20, "--resume")
    assert resumed.code == 0 and "has already been trained this long" in resumed.stdout
    assert train(corpus, "--epochs", 5, "--batch", 20, "--resume").code == 0
    [state] = (tmp_path / "mine").glob("training*.safetensors")
    assert open_tensors(state)["run"][0] == steps * 5 // 2


def test_train_reads_corpus_from_standard_input(train: Callable, tmp_path: Path) -> None:
    assert train("-", "--epochs", 1, stdin="\n".join(LINES)).code == 0
    assert load(tmp_path / "mine").info.origin.endswith("of standard input")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--epochs", 1, "--minutes", 1], 2, "--epochs or --minutes"),
        (["--resume", "--force"], 2, "--resume or --force"),
        (["--resume"], 2, "no training.safetensors"),
        (["--heads", 0], 2, "--heads"),
        (["--rate", "fast"], 2, "--rate"),
    ],
)
def test_train_with_invalid_options_prints_one_line_error_and_writes_nothing(
    train: Callable, corpus: Path, tmp_path: Path, args: list[object], code: int, message: str
) -> None:
    result = train(corpus, *args)
    assert (result.code, result.stdout) == (code, "")
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "mine").exists()


def test_train_into_existing_model_without_force_leaves_it_unchanged(
    train: Callable, corpus: Path, tmp_path: Path
) -> None:
    assert train(corpus, "--epochs", 1).code == 0
    before = (tmp_path / "mine" / "model.safetensors").read_bytes()
    result = train(corpus, "--epochs", 1, "--seed", 9)
    assert result.code == 2 and "--force" in result.stderr
    for args, message in (
        (["--heads", 2], "8 heads of size 16"),
        (["--seed", 9], "seed 0"),
    ):
        result = train(corpus, "--epochs", 2, "--resume", *args)
        assert result.code == 2 and message in result.stderr
    assert (tmp_path / "mine" / "model.safetensors").read_bytes() == before


def test_train_with_force_into_folder_of_other_files_leaves_it_unchanged(
    train: Callable, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    result = train(corpus, "--epochs", 1, "--force")
    assert result.code == 2 and "is not a model folder" in result.stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "not valid UTF-8"),
        (b"a\0b", "binary"),
        (b"xyzzy plugh\n" * 3, "None of"),
    ],
)
def test_train_with_unusable_corpus_exits_2_and_writes_nothing(
    train: Callable, tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(data)
    result = train(path)
    assert result.code == 2 and message in result.stderr.splitlines()[-1]
    assert not (tmp_path / "mine").exists()


def test_train_into_name_of_embedded_model_exits_2(qkv: Callable, corpus: Path) -> None:
    result = qkv("train", corpus, "--out", "glove")
    assert result.code == 2 and "included in qkv" in result.stderr


def test_train_interrupted_keeps_best_heads_and_exits_130(
    corpus: Path, tiny_glove: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "qkv_cli", "train", str(corpus), "--vectors", str(tiny_glove)]
    run = subprocess.Popen(
        [*command, "--out", str(tmp_path / "mine"), "--minutes", "5", "--batch", "20"],
        stderr=subprocess.PIPE,
        text=True,
        # A background process ignores Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "mine").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert "contains the best heads so far" in stderr.splitlines()[-1] and "Traceback" not in stderr
    assert load(tmp_path / "mine").info.n_heads == 8
    assert not list(tmp_path.glob(".mine*"))
    shutil.rmtree(tmp_path / "mine")
