"""Runs of `qkv` that are killed, raced or starved, forked from a process that has imported it.

Tests use `Spawner`; it starts this file as a program.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_CHANGES = {
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod"),
    *("os.truncate", "shutil.rmtree", "shutil.copyfile", "shutil.move"),
}


@dataclass(frozen=True)
class Run:
    """One run of `qkv`.

    Attributes:
        argv: The arguments.
        signal_at: Send `signal` before the change of a file with this number, counted from 1.
        signal: SIGKILL, or one that can be handled.
        kill_after: Send SIGKILL this many seconds after the start.
        delay: Begin this many seconds after the runs that are started together with it.
        exchanges: Whether two folders can be swapped in one step.
        largest_file: A limit in bytes: to write more fails, as it does on a full disk.
        vector_sets: Fields to replace in the table of word vectors, by the set's name.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "."
    signal_at: int = 0
    signal: int = signal.SIGKILL
    kill_after: float = 0
    delay: float = 0
    exchanges: bool = True
    largest_file: int | None = None
    vector_sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        code: The exit code, or minus the number of the signal that ended it.
        changes: The changes of files below the watched folder, a line each.
    """

    code: int
    stdout: str
    stderr: str
    changes: list[str]


class Spawner:
    """A process that has imported `qkv`, and forks a run for each request."""

    def __init__(self, folder: Path) -> None:
        """Watch the changes of files below `folder`."""
        single = {"OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | single,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(self, *runs: Run) -> list[Outcome]:
        """Start runs together, and wait for all of them."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([asdict(run) for run in runs]), file=self._process.stdin, flush=True)
        return [Outcome(**outcome) for outcome in json.loads(self._process.stdout.readline())]


def _serve(folder: str) -> None:
    for module in pkgutil.walk_packages(importlib.import_module("qkv_cli").__path__, "qkv_cli."):
        if not module.name.startswith(("qkv_cli.models", "qkv_cli.__main__")):
            importlib.import_module(module.name)
    for name in ("huggingface_hub", "jsonschema"):
        importlib.import_module(name)
    for line in sys.stdin:
        requests = json.loads(line)
        children = [_forked(request, folder) for request in requests]
        for (child, _), request in zip(children, requests, strict=True):
            if request["kill_after"]:
                time.sleep(request["kill_after"])
                os.kill(child, signal.SIGKILL)
        print(json.dumps([_outcome(child, pipes) for child, pipes in children]), flush=True)


def _forked(request: dict[str, Any], folder: str) -> tuple[int, list[int]]:
    """Start a run in a process of its own: its number, and what to read its outputs from."""
    pipes = [os.pipe() for _ in ("stdout", "stderr", "changes")]
    child = os.fork()
    if child == 0:
        code = 99
        try:
            _become(request, folder, [write for _, write in pipes])
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else leaving.code is not None
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            os._exit(code)
    for _, write in pipes:
        os.close(write)
    return child, [read for read, _ in pipes]


def _outcome(child: int, pipes: list[int]) -> dict[str, Any]:
    """How a run ended; its outputs fit into pipes, so nobody has to read them before."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for pipe in pipes:
        with os.fdopen(pipe, errors="replace") as read:
            texts.append(read.read())
    stdout, stderr, changes = texts
    return asdict(Outcome(code, stdout, stderr, changes.splitlines()))


def _become(request: dict[str, Any], folder: str, pipes: list[int]) -> None:
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    sys.argv = ["qkv", *request["argv"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, pipe in zip((1, 2), pipes, strict=False):
        os.dup2(pipe, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if not request["exchanges"]:
        atomic_files: Any = importlib.import_module("qkv_cli.atomic_files")
        atomic_files._exchanged = lambda new, target: False
    _replace_vector_sets(request["vector_sets"])
    if request["largest_file"] is not None:
        limit = (request["largest_file"], resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    _watch(folder, pipes[2], request["signal_at"], request["signal"])
    time.sleep(request["delay"])
    importlib.import_module("qkv_cli.__main__").main()


def _replace_vector_sets(changes: dict[str, dict[str, Any]]) -> None:
    from dataclasses import replace

    sources: Any = importlib.import_module("qkv_cli.store.sources")
    for name, fields in changes.items():
        if "base" in fields:
            sources.GENSIM_DATA = fields.pop("base")
        sources.VECTOR_SETS[name] = replace(sources.VECTOR_SETS[name], **fields)


def _watch(folder: str, log: int, signal_at: int, number: int) -> None:
    """Log each change of a file below `folder`; end the process before one of them."""
    n_changes = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal n_changes
        if (path := _changed(event, arguments, folder)) is None:
            return
        n_changes += 1
        os.write(log, f"{event} {path.removeprefix(folder)}\n".encode())
        if n_changes == signal_at:
            os.kill(os.getpid(), number)

    sys.addaudithook(hook)


def _changed(event: str, arguments: tuple[Any, ...], folder: str) -> str | None:
    """The path below `folder` that an audit event is about to change."""
    if event == "ctypes.dlsym" and arguments[1] in ("renameat2", "renamex_np"):
        return folder  # two folders are about to be swapped
    if event == "open":
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        if not isinstance(arguments[2], int) or not arguments[2] & writes:
            return None
    elif event not in _CHANGES:
        return None
    folder_fd = next((n for n in arguments[1:] if type(n) is int and n > 2), None)
    for path in arguments[:2]:
        if isinstance(path, str | bytes | os.PathLike):
            name = Path(os.fsdecode(path))
            if folder_fd is not None and event in ("os.remove", "os.rmdir"):
                name = Path(f"/proc/self/fd/{folder_fd}").resolve() / name
            if str(name.absolute()).startswith(folder):
                return str(name.absolute())
    return None


if __name__ == "__main__":
    _serve(sys.argv[1])
