"""Start-up of `qkv` beside the bare imports it cannot do without.

Each pair is run in turns, so that a busy machine slows both, and each ratio is one
median over the other. Run with the interpreter that `qkv` is installed for:

    .venv/bin/python benchmarks/startup.py [--runs N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

TEXT = "The mango and the apple are sweet fruits that grow on a tree"  # 13 words
MIB = 2**20
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere


@dataclass(frozen=True)
class Case:
    name: str
    args: list[str]  # of `python -m qkv_cli`
    beside: str  # what `python -c` runs in turn with it
    at_most: float  # times as long
    at_most_mib: float | None = None


CASES = [
    Case("qkv --help", ["--help"], "import typer, rich.console", 2.0),
    Case(
        "qkv attend (13 words)",
        ["attend", TEXT, "--color", "always"],
        "import numpy, typer, rich.console, tokenizers",
        1.8,
        80,
    ),
    Case(
        "qkv attend --json (13 words)",
        ["attend", TEXT, "--json"],
        "import numpy, typer, rich.console, tokenizers",
        1.8,
        80,
    ),
]


def run(args: list[str]) -> tuple[float, float]:
    """Seconds, and MiB at the peak, of one run of this interpreter."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, *args], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"python {' '.join(args)} ended with {child.returncode}")
    return seconds, usage.ru_maxrss * MAXRSS_UNIT / MIB


def measure(case: Case, runs: int) -> bool:
    ours, theirs = ["-m", "qkv_cli", *case.args], ["-c", case.beside]
    for args in (ours, theirs):
        run(args)  # byte code, and the files in the page cache
    pairs = [(run(ours), run(theirs)) for _ in range(runs)]
    seconds = statistics.median(pair[0][0] for pair in pairs)
    beside = statistics.median(pair[1][0] for pair in pairs)
    peak = max(pair[0][1] for pair in pairs)
    ratio = seconds / beside
    kept = ratio <= case.at_most and (case.at_most_mib is None or peak <= case.at_most_mib)
    print(f"{case.name}: {seconds * 1e3:.0f} ms, {peak:.0f} MiB at the peak")
    print(f"  python -c '{case.beside}': {beside * 1e3:.0f} ms")
    limit = f"{case.at_most}" + (f" and {case.at_most_mib:g} MiB" if case.at_most_mib else "")
    print(f"  ratio {ratio:.2f} (at most {limit}): {'kept' if kept else 'MISSED'}")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21, help="pairs of runs for each ratio")
    runs = parser.parse_args().runs
    kept = [measure(case, runs) for case in CASES]
    if not all(kept):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
