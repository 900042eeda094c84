"""A failed write keeps the old version, prints one line, and leaves no temporary files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import MORE, Bench, benches
from test_kills import SCENARIOS

WRITING = sorted(SCENARIOS.keys() - {"rm"})


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with benches(tmp_path_factory.mktemp("disk")) as bench:
        yield bench


@pytest.mark.parametrize("name", WRITING)
@pytest.mark.parametrize("largest_file", [0, 700])
def test_write_that_fails_half_way_keeps_previous_contents(
    bench: Bench, name: str, largest_file: int
) -> None:
    scenario = SCENARIOS[name]
    bench.prepare(scenario.before)
    before = bench.contents(scenario.target)
    outcome = bench.run(scenario.command, largest_file=largest_file)
    if outcome.code == 0:
        assert all(
            path.stat().st_size <= largest_file
            for path in (bench.folder / scenario.target).rglob("*")
            if path.is_file()
        )
        return
    assert outcome.code == 2, outcome
    assert outcome.stderr.splitlines()[-1].endswith(": File too large.")
    assert outcome.stderr.count("File too large") == 1
    assert "Traceback" not in outcome.stderr
    if not scenario.has_steps:
        assert bench.contents(scenario.target) == before
    elif before:
        assert bench.pattern()
    assert [path for path in bench.leftovers() if "downloads" not in path] == []
    second_run = bench.run(scenario.command)
    assert second_run.code == 0 or (
        scenario.done is not None and scenario.done in second_run.stderr
    )


FULL = """
set -e
mount -t tmpfs -o size=1m none "$1"
many=$2; cp "$3" "$1/more.txt"; shift 3
cd disk; export QKV_HOME=$PWD/home
"$@" models add x --vectors more.txt > /dev/null
"$@" attend -m x "the river" --json > before.json
head -c 800000 /dev/zero > ballast
"$@" models add x --force --vectors "$many" || echo "exit $?"
"$@" attend -m x "the river" --json > after.json
cmp before.json after.json
"$@" attend "the river" -o page.html || echo "exit $?"
ls -A . home/models
"""


def test_models_add_on_full_file_system_keeps_old_model(tmp_path: Path) -> None:
    program = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*program, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    many_words, more_words, disk = tmp_path / "many.txt", tmp_path / "more.txt", tmp_path / "disk"
    disk.mkdir()
    many_words.write_text("".join(f"w{i} {i} 0.25 0.5\n" for i in range(20_000)))
    more_words.write_text(MORE)
    qkv = [sys.executable, "-m", "qkv_cli"]
    outcome = subprocess.run(
        [*program, "bash", "-c", FULL, "bash", disk, many_words, more_words, *qkv],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines() == [
        "exit 2",
        ".:",
        *("after.json", "ballast", "before.json", "home", "more.txt", "page.html", ""),
        "home/models:",
        "x",
    ]
    line, *notes = outcome.stderr.splitlines()
    assert [note.split(" (")[0] for note in notes] == ["qkv: Wrote page.html"]
    assert line.startswith("qkv: Could not write ")
    assert line.endswith("home/models/x: No space left on device.")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        ("attend", "the river"),
        ("attend", "the river", "--json"),
        ("attend", "the river", "-o", "/dev/full", "--format", "json"),
        ("models", "list"),
        ("--help",),
    ],
)
def test_command_with_full_standard_output_prints_one_line_error(
    arguments: tuple[str, ...],
) -> None:
    with Path("/dev/full").open("w") as full:
        outcome = subprocess.run(
            [sys.executable, "-m", "qkv_cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    where = "/dev/full" if "-o" in arguments else "the output"
    assert outcome.returncode == 2
    assert outcome.stderr == f"qkv: Could not write {where}: No space left on device.\n"
