"""Run 5,000 damaged files, and check that the fuzzer detects planted faults."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = "config safetensors tokenizer vocabulary gguf marian vectors document npz array model"
NAMES = [*TARGETS.split(), "training", "wheel", "index", "text"]
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def fuzz(*arguments: object, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", "--workers", "1", "--root", root]
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )


@pytest.mark.parametrize("names", [NAMES[::2], NAMES[1::2]], ids=["even", "odd"])
def test_fuzz_of_damaged_files_finds_no_faults(names: list[str]) -> None:
    outcome = fuzz(*names, "--inputs", 2500, "--seed", 9)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout == "0 faults at 0 places\n"


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ("raise KeyError(1)", "KeyError in qkv_cli/formats/safetensors.py read_tensors"),
        ("import os; os.abort()", "abort: SIGABRT"),
        ("while True: pass", "hang"),
        ("x = bytearray(2**30)", "memory"),
        ("import sys; print('qkv: a\\nb', file=sys.stderr)", "more than one line: 'b'"),
        ("print('\\x1b[2J')", "control characters on stdout of attend"),
    ],
)
def test_fuzz_of_planted_fault_reports_it(tmp_path: Path, planted: str, fault: str) -> None:
    shutil.copytree(ROOT / "qkv_cli", tmp_path / "qkv_cli")
    path = tmp_path / "qkv_cli" / "formats" / "safetensors.py"
    source = path.read_text()
    line = '    n_header = int.from_bytes(data[:8].tobytes(), "little")\n'
    assert line in source
    path.write_text(source.replace(line, f"    if 'input' in path:\n        {planted}\n{line}"))
    outcome = fuzz("safetensors", "--inputs", 1, "--seed", 1, root=tmp_path)
    assert outcome.returncode == 1
    assert fault in outcome.stdout


def test_fuzz_with_same_seed_produces_same_input(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fuzz("document", "--only", 3, "--seed", 4, "--keep", tmp_path / name)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"
    )
    assert first == second != {}
