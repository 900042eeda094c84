"""Feed damaged files to `qkv`, and list what is no refusal in one line: see README.md here."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from targets import TARGETS, write_seeds  # noqa: E402
from worker import SECONDS  # noqa: E402

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 60.0  # seconds of wall time, in which a process without CPU time is waited for


class Lane:
    """The inputs of one worker process, which is started again where one of them ends it."""

    def __init__(
        self,
        inputs: list[tuple[str, int]],
        folder: Path,
        *,
        seeds: Path,
        root: Path,
        seed: int,
        keep: Path | None,
    ) -> None:
        self.inputs, self.folder, self.seeds = inputs, folder, seeds
        self.root, self.seed, self.keep = root, seed, keep
        self.n_done = 0
        self.faults: list[tuple[str, int, str]] = []

    def run(self) -> None:
        while self.n_done < len(self.inputs):
            self.n_done += self._work(self.n_done)

    def _work(self, start: int) -> int:
        """Run a worker from this input on, and return the number of inputs it finished."""
        inputs = self.inputs[start:]
        current = self.folder / "current"
        current.write_bytes(bytes(108))
        read, write = os.pipe()
        ranges = [[target, index, index + 1, 1] for target, index in inputs]
        listed = self.folder / "inputs.json"
        listed.write_text(json.dumps(ranges))
        single = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")}
        paths = {"PYTHONPATH": str(self.root), "TOKENIZERS_PARALLELISM": "false"}
        process = subprocess.Popen(
            [
                *(sys.executable, str(HERE / "worker.py"), "--seeds", str(self.seeds)),
                *("--seed", str(self.seed), "--inputs", str(listed), "--current", str(current)),
                *("--reports", str(write)),
                *([] if self.keep is None else ["--keep", str(self.keep)]),
            ],
            pass_fds=[write],
            env=os.environ | single | paths,
            stderr=None if self.keep else subprocess.PIPE,
        )
        os.close(write)
        ended = threading.Event()

        def collect() -> None:
            with os.fdopen(read) as reports:
                for line in reports:
                    target, index, fault = json.loads(line)
                    if fault == "end":
                        ended.set()
                    else:
                        self.faults.append((target, index, fault))

        collector = threading.Thread(target=collect)
        collector.start()
        verdict = self._watch(process, current)
        process.wait()
        stderr = b""
        if process.stderr is not None:
            with process.stderr:
                stderr = process.stderr.read()
        collector.join()
        data = current.read_bytes()
        n_read = int.from_bytes(data[:8], "little")
        if ended.is_set():
            return len(inputs)
        scratch = Path(data[8:].decode().strip() or "/nonexistent")
        if not scratch.is_dir():
            raise RuntimeError(f"a worker did not start: {stderr.decode()[-2000:]}")
        target, index = inputs[n_read]
        with contextlib.suppress(OSError):
            stderr = (scratch / "err").read_bytes()
        self.faults.append((target, index, verdict or _abort(process.returncode, stderr)))
        subprocess.run(["rm", "-rf", str(scratch)])
        return n_read + 1

    def _watch(self, process: subprocess.Popen[bytes], current: Path) -> str:
        """Kill a worker that takes too long for one input, and return the message to report."""
        last_index, since, cpu = -1, time.monotonic(), 0.0
        while process.poll() is None:
            time.sleep(0.05 if len(self.inputs) < 50 else 0.25)
            data = current.read_bytes()
            at, used = int.from_bytes(data[:8], "little"), _cpu_seconds(process.pid)
            started = data[8:].strip(b"\0 ") != b""
            if at != last_index or not started:
                last_index, since, cpu = at, time.monotonic(), used
            elif used - cpu > SECONDS + 1 or time.monotonic() - since > _PATIENCE:
                process.kill()
                return "hang"
        return ""


def _cpu_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _abort(code: int | None, stderr: bytes) -> str:
    name = signal.Signals(-code).name if code is not None and code < 0 else f"exit {code}"
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if "panicked" in line]
    return f"abort: {name} {lines[0][:80] if lines else ''}".strip()


def fuzz(
    names: list[str],
    seed: int,
    n_inputs: int,
    *,
    root: Path,
    n_workers: int = 2,
    only: int | None = None,
    keep: Path | None = None,
) -> list[tuple[str, int, str]]:
    """Read inputs of these targets in turn; (target, index, fault) of each that went wrong."""
    numbers = range(n_inputs) if only is None else [only * len(names)]
    inputs = [(names[i % len(names)], i // len(names)) for i in numbers]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seeds = folder / "seeds"
        write_seeds(seeds, names)
        lanes = []
        for i in range(n_workers if only is None else 1):
            (folder / str(i)).mkdir()
            lane_inputs = inputs[i::n_workers]
            lanes.append(
                Lane(lane_inputs, folder / str(i), seeds=seeds, root=root, seed=seed, keep=keep)
            )
        threads = [threading.Thread(target=lane.run, daemon=True) for lane in lanes]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(10) if threads[0].is_alive() else threads[-1].join(10)
            n_done, seconds = sum(lane.n_done for lane in lanes), time.monotonic() - start
            n_faults = sum(len(lane.faults) for lane in lanes)
            if sys.stderr.isatty():
                print(
                    f"\r{n_done} done, {n_faults} faults, {seconds:.0f} s", end="", file=sys.stderr
                )
        print(f"{len(inputs)} inputs in {time.monotonic() - start:.0f} s", file=sys.stderr)
        return sorted(fault for lane in lanes for fault in lane.faults)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=5000, metavar="N", help="of all targets")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--root", type=Path, default=HERE.parents[1], help="the checkout to test")
    parser.add_argument("--only", type=int, metavar="INDEX", help="this input of one target")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy that input, and show it")
    arguments = parser.parse_args()
    names = arguments.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"unknown target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    faults = fuzz(
        names,
        arguments.seed,
        arguments.inputs,
        root=arguments.root.resolve(),
        n_workers=arguments.workers,
        only=arguments.only,
        keep=arguments.keep,
    )
    places = defaultdict[str, list[tuple[str, int]]](list)
    for target, index, fault in faults:
        places[fault].append((target, index))
    for fault, inputs in sorted(places.items(), key=lambda item: -len(item[1])):
        target, index = inputs[0]
        print(f"{len(inputs):6}  {fault}\n        {target} --seed {arguments.seed} --only {index}")
    print(f"{len(faults)} faults at {len(places)} places")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
