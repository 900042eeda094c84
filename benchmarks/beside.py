"""Two commands in turns, so that a busy machine slows both; the ratio is what counts."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

MIB = 2**20
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere


@dataclass(frozen=True)
class Case:
    name: str
    args: list[str]  # of `python -m qkv_cli`
    beside: list[str]  # what this interpreter runs in turn with it
    called: str  # what that is
    at_most: float  # times as long
    at_most_mib: float | None = None
    python: str = sys.executable  # what runs `beside`


def run(args: list[str], python: str = sys.executable) -> tuple[float, float]:
    """Seconds, and MiB at the peak, of one run of an interpreter."""
    start = time.perf_counter()
    child = subprocess.Popen([python, *args], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"python {' '.join(args)} ended with {child.returncode}")
    return seconds, usage.ru_maxrss * MAXRSS_UNIT / MIB


def measure(case: Case, runs: int) -> bool:
    """Print one median over the other, and say whether the limit was kept."""
    ours = ["-m", "qkv_cli", *case.args]
    run(ours)  # byte code, and the files in the page cache
    run(case.beside, case.python)
    pairs = [(run(ours), run(case.beside, case.python)) for _ in range(runs)]
    seconds = statistics.median(pair[0][0] for pair in pairs)
    beside = statistics.median(pair[1][0] for pair in pairs)
    peak = max(pair[0][1] for pair in pairs)
    ratio = seconds / beside
    kept = ratio <= case.at_most and (case.at_most_mib is None or peak <= case.at_most_mib)
    print(f"{case.name}: {seconds * 1e3:.0f} ms, {peak:.0f} MiB at the peak")
    print(f"  {case.called}: {beside * 1e3:.0f} ms")
    limit = f"{case.at_most:.3g}" + (f" and {case.at_most_mib:g} MiB" if case.at_most_mib else "")
    print(f"  ratio {ratio:.2f} (at most {limit}): {'kept' if kept else 'MISSED'}")
    return kept
