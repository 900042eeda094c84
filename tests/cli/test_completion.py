"""Completions that a shell offers for a half-written line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qkv_cli.cli.app import COMMANDS

ROOT = Path(__file__).parents[2]
HEADS = [f"L0H{i}" for i in range(8)]
MODEL = ROOT / "tests" / "golden" / "checkpoints" / "bert"  # 2 layers of 4 heads
BART = MODEL.with_name("bart")  # an encoder of 2 layers with 4 heads, a decoder of 3 with 2


def offered(line: str) -> list[str]:
    """The completions of the last word of a line, as bash would ask for them."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    env = os.environ | words | {"_QKV_COMPLETE": "complete_bash"}
    env.pop("QKV_MODEL", None)
    command = Path(sys.executable).parent / "qkv"
    done = subprocess.run([command], env=env, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(
    not shutil.which("qkv", path=str(Path(sys.executable).parent)), reason="qkv is not installed"
)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("qkv ", list(COMMANDS)),
        ("qkv attend --head ", HEADS),
        ("qkv explain -H ", HEADS),
        ("qkv compare --nearest ", HEADS),
        ("qkv attend --layer ", ["all", "0"]),
        (f"qkv attend -m {MODEL} --layer ", ["all", "0", "1"]),
        (f"qkv attend -m {MODEL} --head ", ["L0H*", "L1H*"]),
        (f"qkv attend -m {MODEL} --head L1H", ["L1H0", "L1H1", "L1H2", "L1H3"]),
        (f"qkv attend -m {BART} --block encoder --layer ", ["all", "0", "1"]),
        (f"qkv attend -m {BART} --block encoder --head L1H", ["L1H0", "L1H1", "L1H2", "L1H3"]),
        (f"qkv attend -m {BART} --block decoder --head L2H", ["L2H0", "L2H1"]),
        ("qkv attend -m no-such-model --head ", []),
        ("qkv attend --weighting h", ["hard"]),
        ("qkv attend --palette via", []),
        ("qkv attend --palette vi", ["viridis"]),
    ],
)
def test_completion_of_partial_line_offers_matching_values(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_completion_of_model_name_offers_installed_and_downloadable_models() -> None:
    assert "glove" in offered("qkv attend -m ")
    assert "minilm" in offered("qkv models pull ")
