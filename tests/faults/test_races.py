"""Two commands at the same time: each completes, or is refused in one line.

`python tests/faults/test_races.py --minutes 10 --seed 1` runs pairs that begin at random moments.
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
from bench import ADD, OUTPUT, PULL, TRAIN, Bench, benches

ATTEND = ("attend", "the river", "-m", "x", "--json")
ADD_MORE, ADD_FEW = (*ADD, "more.txt", "--force"), (*ADD, "few.txt", "--force")
RETRAIN = (*TRAIN, "1", "--force")


@dataclass(frozen=True)
class Race:
    """Two commands that are run together, and the file or folder that they change or read."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    before: tuple[str, ...] = ()
    target: str = "home/models/x"


RACES = {
    "add-add": Race(ADD_MORE, ADD_FEW, ADD_FEW),
    "add-attend": Race(ADD_MORE, ATTEND, ADD_FEW),
    "add-list": Race(ADD_MORE, ("models", "list"), ADD_FEW),
    "add-rm": Race(ADD_MORE, ("models", "rm", "x", "--yes"), ADD_FEW),
    "output-output": Race(
        ("attend", "the river", *OUTPUT), ("attend", "a bank", *OUTPUT), (), "out.json"
    ),
    "pull-pull": Race(PULL, PULL, (), "home/models/tiny-model"),
    "pull-force-list": Race((*PULL, "--force"), ("models", "list"), PULL, "home/models/tiny-model"),
    "train-add": Race(RETRAIN, ADD_MORE, ADD_FEW),
    "train-attend": Race(RETRAIN, ATTEND, ADD_FEW),
    "train-train": Race(RETRAIN, RETRAIN, ADD_FEW),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with benches(tmp_path_factory.mktemp("races")) as bench:
        yield bench


def check_races(bench: Bench, race: Race, rng: random.Random, n_races: int) -> None:
    """Run a pair of commands several times; the result must be that of a sequence."""
    bench.prepare(race.before)
    contents, outputs, seconds = _one_after_the_other(bench, race)
    for _ in range(n_races):
        bench.put_back()
        outcomes = bench.spawner.run(
            *(
                bench.prepared(command, delay=rng.uniform(0, seconds))
                for command in (race.first, race.second)
            )
        )
        for command, outcome in zip((race.first, race.second), outcomes, strict=True):
            if outcome.code == 2 and "Another qkv process is writing to" in outcome.stderr:
                assert outcome.stderr.count("\n") == 1
            else:
                assert (outcome.code, _lasting(command, outcome.stdout)) in outputs, outcome
        assert _model(bench, race) in contents
        assert bench.leftovers() == []


def _one_after_the_other(
    bench: Bench, race: Race
) -> tuple[list[dict[str, str]], set[tuple[int, str]], float]:
    """Files and output of two commands in either order, and the duration of the slower one."""
    contents, outputs, seconds = [], set(), 0.0
    for commands in (
        (race.first, race.second),
        (race.second, race.first),
        (race.first,),
        (race.second,),
    ):
        bench.put_back()
        for command in commands:
            start = time.monotonic()
            outcome = bench.run(command)
            seconds = max(seconds, time.monotonic() - start)
            outputs.add((outcome.code, _lasting(command, outcome.stdout)))
        contents.append(_model(bench, race))
    return contents, outputs, seconds


def _model(bench: Bench, race: Race) -> dict[str, str]:
    """The files of a target without the training state, which contains times."""
    files = bench.contents(race.target)
    return {name: checksum for name, checksum in files.items() if name != "training.safetensors"}


def _lasting(command: tuple[str, ...], stdout: str) -> str:
    """The output of a command; empty for training, whose output contains times."""
    return "" if command[0] == "train" else stdout


@pytest.mark.parametrize("name", RACES)
def test_two_concurrent_commands_give_result_of_sequential_run(bench: Bench, name: str) -> None:
    check_races(bench, RACES[name], random.Random(name), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1)
    arguments = parser.parse_args()
    rng, n_races = random.Random(arguments.seed), 0
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder, benches(Path(folder)) as bench:
        while time.monotonic() < end:
            check_races(bench, RACES[rng.choice(list(RACES))], rng, 20)
            n_races += 20
    print(f"{n_races} races: nothing lost")


if __name__ == "__main__":
    main()
