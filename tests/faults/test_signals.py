"""A signal at any moment: the command cleans up, and its exit code says which signal it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from bench import Bench, benches
from test_kills import SCENARIOS

QKV = [sys.executable, "-m", "qkv_cli"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module", autouse=True)
def heeded() -> Iterator[None]:
    """Restore the default handlers of signals that background jobs and nohup ignore."""
    old_handlers = {number: signal.signal(number, signal.SIG_DFL) for number in CODES}
    yield
    for number, handler in old_handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with benches(tmp_path_factory.mktemp("signals")) as bench:
        yield bench


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *((name, signal.SIGTERM) for name in SCENARIOS),
        ("add", signal.SIGINT),
        ("rm", signal.SIGHUP),
    ],
)
def test_signal_before_change_cleans_up_and_exits_with_signal_code(
    bench: Bench, name: str, number: signal.Signals
) -> None:
    scenario = SCENARIOS[name]
    bench.prepare(scenario.before)
    before = bench.contents(scenario.target)
    n_changes = len(bench.run(scenario.command).changes)
    after = bench.contents(scenario.target)
    for change in sorted({1, n_changes // 3, n_changes // 2, n_changes - 1}):
        bench.put_back()
        outcome = bench.run(scenario.command, signal=number, signal_at=change)
        assert outcome.code == CODES[number], outcome
        assert "Traceback" not in outcome.stderr
        if not scenario.has_steps:
            assert bench.contents(scenario.target) in (before, after)
        assert [path for path in bench.leftovers() if "downloads" not in path] == []


AT_IMPORT = """
import os, signal, sys
left = int(sys.argv.pop(1))
def hook(event, arguments):
    global left
    if event == "import":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)
from qkv_cli.__main__ import main
sys.addaudithook(hook)
main()
"""


@pytest.mark.parametrize("number", [1, 5, 50, 150])
def test_interrupt_during_imports_exits_130_silently(number: int) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", AT_IMPORT, str(number), "attend", "the river bank", "--json"],
        capture_output=True,
        text=True,
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr.strip()) == (130, "", "")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_signal_ignored_at_start_stays_ignored(number: signal.Signals) -> None:
    with subprocess.Popen(
        [*QKV, "attend", "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN),
    ) as process:
        for _ in range(20):
            process.send_signal(number)
            time.sleep(0.02)
        stdout, _ = process.communicate("the river bank", timeout=20)
    assert process.returncode == 0
    assert '"text":"the river bank"' in stdout


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_signal_while_reading_standard_input_exits_with_signal_code(number: signal.Signals) -> None:
    with subprocess.Popen(
        [*QKV, "attend", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        time.sleep(1)  # by now it waits for its input
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr.strip()) == (CODES[number], "")
