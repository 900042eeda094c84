"""Fixtures: a tiny model, and a function that runs the command line in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from qkv_cli.checkpoints.adapters.word_vectors import no_self
from qkv_cli.cli.app import main
from qkv_cli.cli.progress import clear_progress
from qkv_cli.store.folder import place_model, write_heads, write_vectors

WORDS = [
    "the",
    "a",
    ",",
    ".",
    "and",
    "mango",
    "apple",
    "are",
    "fruits",
    "that",
    "grow",
    "on",
    "tree",
    "river",
    "bank",
    "money",
    "she",
    "deposited",
    "in",
    "fisherman",
    "sat",
    "of",
    "did",
    "n't",
]
N_HEADS, D_MODEL, D_HEAD = 4, 12, 8


@pytest.fixture(scope="session")
def tiny_glove(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 words, 4 heads whose d_head is not d_model / n_heads, weights large enough to matter."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    rng = np.random.default_rng(0)
    inner, n_rows = N_HEADS * D_HEAD, len(WORDS) + 1
    shapes = {"q": (inner, D_MODEL), "k": (inner, D_MODEL), "v": (inner, D_MODEL)}
    shapes["o"] = (D_MODEL, inner)
    heads = {"embed.mean": rng.normal(0, 0.1, D_MODEL)}
    for name, shape in shapes.items():
        heads[f"attn.{name}.weight"] = rng.normal(0, 0.5, shape)
        heads[f"attn.{name}.bias"] = rng.normal(0, 0.5, shape[0])
    heads["attn.offset_bias"] = no_self(2, N_HEADS) + rng.normal(0, 1, (5, N_HEADS))
    config = {"model_type": "word-vectors", "name": "tiny", "n_layers": 1, "n_heads": N_HEADS}
    config |= {
        "d_model": D_MODEL,
        "d_head": D_HEAD,
        "d_vocab": n_rows,
        "origin": "learned in a test",
    }
    vectors = {
        "embed.weight": rng.integers(-127, 128, (n_rows, D_MODEL)).astype(np.int8),
        "embed.scale": rng.uniform(0.005, 0.02, n_rows).astype(np.float32),
    }
    with place_model(folder) as temporary:
        write_vectors(temporary, WORDS, vectors, lowercase=True)
        write_heads(temporary, config, {n: t.astype(np.float32) for n, t in heads.items()})
    return folder


@pytest.fixture(autouse=True)
def at_rest() -> Iterator[None]:
    """Clear the progress line that a test left by calling a command's functions directly."""
    yield
    clear_progress()


class Result(NamedTuple):
    code: int
    stdout: str
    stderr: str


class _Input(io.TextIOWrapper):
    """Standard input that contains the given bytes, like a pipe."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BufferedReader(io.BytesIO(data)), encoding="utf-8")


@pytest.fixture
def qkv(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Run `qkv ARGS` in this process, as the console script would: 80 columns, no colour."""
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "QKV_MODEL", "QKV_HOME"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: object, stdin: str | bytes = "") -> Result:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "argv", ["qkv", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", _Input(data))
        with pytest.raises(SystemExit) as leaving:
            main()
        return Result(int(leaving.value.code or 0), *capsys.readouterr())

    return run
