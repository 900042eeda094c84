"""Closed standard streams, circular links and endless lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

QKV = [sys.executable, "-m", "qkv_cli"]
TEXT = "the river bank"


@pytest.mark.parametrize(
    ("arguments", "closed", "message"),
    [
        (("attend", "-"), 0, "standard input"),
        (("render", "-"), 0, "standard input"),
        (("heads", "-"), 0, "standard input"),
        (("attend", TEXT), 1, "Could not write the output: Bad file descriptor."),
        (("attend", TEXT, "--json"), 1, "Could not write the output: Bad file descriptor."),
        (("models", "list"), 1, "Could not write the output: Bad file descriptor."),
        (("--help",), 1, "Could not write the output: Bad file descriptor."),
    ],
)
def test_command_with_closed_standard_stream_prints_one_line_error(
    arguments: tuple[str, ...], closed: int, message: str
) -> None:
    outcome = _with_closed(closed, *arguments)
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1
    assert message in outcome.stderr


def test_attend_with_closed_standard_error_gives_same_result(tmp_path: Path) -> None:
    path = tmp_path / "maps.json"
    outcome = _with_closed(2, "attend", f"{TEXT} zzqxv", "-o", str(path))
    assert outcome.returncode == 0
    assert path.read_text().startswith('{"schema":"qkv.attention/1"')
    assert "unknown to" not in path.read_text().partition('"notes"')[0]


def _with_closed(descriptor: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command without one of the standard streams."""
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {descriptor}<&-', "bash", *QKV, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("name", ["a.json", "a/b.json"])
def test_attend_output_to_circular_link_prints_one_line_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.json").symlink_to("b.json")
    (tmp_path / "b.json").symlink_to("a.json")
    (tmp_path / "a").symlink_to("a")
    outcome = subprocess.run(
        [*QKV, "attend", TEXT, "-o", str(tmp_path / name)], capture_output=True, text=True
    )
    assert outcome.returncode == 2
    assert outcome.stderr == (
        f"qkv: Could not write {tmp_path / name}: Too many levels of symbolic links.\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.json", "b.json"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_train_on_line_of_300_megabytes_exits_2_in_bounded_memory(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    with corpus.open("wb") as file:
        for _ in range(300):
            file.write(b"a" * 2**20)
    code = (
        "from pathlib import Path; from qkv_cli.__main__ import main\n"
        "try: main()\n"
        "finally: print(Path('/proc/self/status').read_text())"
    )
    arguments = ["train", str(corpus), "--out", str(tmp_path / "x")]
    outcome = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True
    )
    assert outcome.returncode == 2
    assert "line 1 is longer than 1,048,576 bytes" in outcome.stderr.splitlines()[-1]
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", outcome.stdout)
    assert int(peak) < 250 * 1024


@pytest.mark.parametrize(
    ("source", "command", "message"),
    [
        ("cat /dev/zero", "render -", "not valid JSON"),
        ("cat /dev/zero", "render --tokens - {array}", "not valid JSON"),
        ("yes '{{}}'", "render -", "standard input is larger than 268,435,456 bytes"),
        ("yes", "attend -", "standard input is larger than 67,108,864 bytes"),
        ("yes", "heads -", "standard input is larger than 67,108,864 bytes"),
        ("cat /dev/zero", "train - --out {folder}", "standard input is a binary file"),
    ],
)
def test_command_reading_endless_pipe_exits_2_in_bounded_memory(
    tmp_path: Path, source: str, command: str, message: str
) -> None:
    array = tmp_path / "w.npy"
    np.save(array, np.eye(2))
    limit = "ulimit -v 1500000"  # KiB
    line = f"{source} | ({limit}; exec {sys.executable} -m qkv_cli {command})"
    outcome = subprocess.run(
        ["bash", "-c", line.format(array=array, folder=tmp_path / "m")],
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") <= 2


def test_render_of_piped_document_reads_all_of_it(tmp_path: Path) -> None:
    document = _piped(f"{' '.join(QKV)} attend '{TEXT}' --json")
    assert _piped(f"echo '{document}' | {' '.join(QKV)} render - --json") == document
    assert (
        _piped(f"echo '{document}' | iconv -t UTF-16 | {' '.join(QKV)} render - --json") == document
    )


def _piped(line: str) -> str:
    return subprocess.run(
        ["bash", "-c", line], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
