"""One process that reads damaged inputs, one after the other, and reports what goes wrong.

Started by `__main__.py`, which watches it: what hangs or aborts takes this process with it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import hashlib
import http.server
import json
import mmap
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mutations import mutate
from targets import TARGETS, TEXTS

MEMORY = 600 * 2**20  # bytes that one input may take
LONGEST_TEXT = 300  # bytes
SECONDS = 5.0  # of CPU time
_BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200f\u061c\u2028\u2029")
_ERROR = re.compile(r"^([\w.]*(?:Error|Exception|Warning|Interrupt)\b|Exception)", re.MULTILINE)
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = re.compile(r'File ".*?/(qkv_cli/[\w/]+\.py)", line \d+, in (\S+)')


class Reader:
    """Reads inputs of the targets with `qkv` of some checkout, in this process."""

    def __init__(self, seeds: Path, scratch: Path, seed: int) -> None:
        self.seeds, self.scratch, self.seed = seeds, scratch, seed
        self.folder = scratch / "input"
        self.console = os.dup(2)
        sys.excepthook = lambda *error: os.write(
            self.console, "".join(traceback.format_exception(*error)).encode()
        )
        self.outputs = [os.open(scratch / name, os.O_RDWR | os.O_CREAT) for name in ("out", "err")]
        for number, descriptor in zip((1, 2), self.outputs, strict=True):
            os.dup2(descriptor, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def read(self, target: str, index: int, keep: Path | None = None) -> list[str]:
        """Read one input; its faults.

        Args:
            keep: Where to copy the input, which is then shown with what became of it.
        """
        rng = random.Random(f"{self.seed}:{target}:{index}")
        command = self._write(target, rng)
        for descriptor in self.outputs:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
        if keep is not None:
            shutil.copytree(self.folder, keep, dirs_exist_ok=True)
            os.write(self.console, f"qkv {' '.join(command)}\n(input kept in {keep})\n".encode())
        start = time.process_time()
        code, escaped = _run(command)
        seconds = time.process_time() - start
        stdout, stderr = ((self.scratch / name).read_bytes() for name in ("out", "err"))
        if keep is not None:
            os.write(self.console, stdout[:3000] + stderr[-3000:] + escaped[-3000:].encode())
        faults = list(_faults(code, escaped, stdout, stderr, command))
        if seconds > SECONDS:
            faults.append("hang")
        return faults

    def _write(self, target: str, rng: random.Random) -> list[str]:
        """Write an input: a folder of a seed's files, one or two of them damaged."""
        shutil.rmtree(self.folder, ignore_errors=True)
        kind = TARGETS[target]
        seed = rng.choice(sorted((self.seeds / target).iterdir()))
        self.folder.mkdir()
        files = {str(p.relative_to(seed)): p for p in sorted(seed.rglob("*")) if p.is_file()}
        damaged = [n for end in kind.damaged for n in files if f"/{n}".endswith(end)]
        weights = [3 if f"/{name}".endswith(kind.damaged[0]) else 1 for name in damaged]
        chosen = set(rng.choices(damaged, weights, k=rng.choice((1, 1, 1, 2))))
        data = {name: _bytes(path) for name, path in files.items()}
        for name in sorted(chosen):
            data[name] = mutate(rng, name, data[name])
        if target == "text":  # memory grows with the square of a text's length
            data = {name: inside[:LONGEST_TEXT] for name, inside in data.items()}
        if target in ("wheel", "index"):
            _serve(data, files)
        for name, inside in data.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(inside)
        return kind.command(rng, self.folder)


@functools.cache
def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _run(command: list[str]) -> tuple[int, str]:
    """The exit code, and the traceback of what escaped from the command line."""
    from qkv_cli.__main__ import main

    sys.argv = ["qkv", *command]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    code, escaped = -1, ""
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        escaped = traceback.format_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            escaped = escaped or traceback.format_exc()
    return code, escaped


def _faults(
    code: int, escaped: str, stdout: bytes, stderr: bytes, command: list[str]
) -> Iterator[str]:
    """The faults in how a command ended."""
    message, printed = stderr.decode("utf-8", "replace"), stdout.decode("utf-8", "replace")
    if escaped or "Traceback (most recent call last)" in message:
        yield _place(escaped or message)
    elif "panicked at" in message:
        yield "panic printed: " + message.partition("panicked at")[2][:60].strip()
    else:
        if code not in (0, 1, 2):
            yield f"exit code {code}"
        yield from _faults_of_messages(code, message)
        yield from _control_characters(f"stderr of {command[0]}", message)
        if "--json" in command and code == 0:
            yield from _faults_of_json(printed)
        else:
            yield from _control_characters(f"stdout of {command[0]}", _COLOR.sub("", printed))


def _place(trace: str) -> str:
    names = _ERROR.findall(trace)
    places = _PLACE.findall(trace)
    return f"{names[-1] if names else '?'} in {' '.join(places[-1]) if places else '?'}"


def _faults_of_messages(code: int, message: str) -> Iterator[str]:
    lines = message.splitlines()
    stray = [line for line in lines if not line.startswith("qkv: ")]
    if stray:
        yield f"more than one line: {stray[0][-50:]!r}"
    if code and not lines:
        yield "no message"
    if any(len(line) > 2000 for line in lines):
        yield "a message of more than 2,000 characters"
    if "Out of memory" in message:
        yield "memory"


def _control_characters(where: str, text: str) -> Iterator[str]:
    odd = {character for character in text if unicodedata.category(character) in ("Cc", "Cs")}
    odd |= _BIDI.intersection(text)
    if odd := odd - {"\n"}:
        yield f"control characters on {where}: {sorted(hex(ord(c)) for c in odd)[:3]}"


def _faults_of_json(printed: str) -> Iterator[str]:
    try:
        for line in printed.splitlines():
            json.loads(line, parse_constant=_not_finite)
    except ValueError as error:
        yield f"JSON: {str(error)[:40]}"


def _not_finite(name: str) -> float:
    raise ValueError(f"not finite: {name}")


_pages: dict[str, bytes] = {}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = _pages.get(self.path.partition("?")[0].lower())
        self.send_response(200 if body is not None else 404)
        body = body or b""
        is_json = body[:1] == b"{"
        kind = "application/vnd.pypi.simple.v1+json" if is_json else "text/html"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


def _serve(data: dict[str, bytes], files: dict[str, Path]) -> None:
    name = next(name for name in files if name.endswith(".whl"))
    sha256 = hashlib.sha256(data[name]).hexdigest()
    page = next((data[name] for name in files if name.startswith("page.")), None)
    if page is None:
        page = f'<a href="../../{name}#sha256={sha256}">{name}</a>'.encode()
    _pages.clear()
    _pages.update(
        {"/simple/tiny/": page.replace(b"@sha256@", sha256.encode()), f"/{name}": data[name]}
    )


@contextmanager
def _server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def _with_commands_built_once() -> None:
    """Keep Typer from building the command line anew for each input, which takes half the time."""
    import typer.main

    typer.main.get_command = functools.cache(typer.main.get_command)  # type: ignore[assignment]
    with contextlib.suppress(ImportError, AttributeError):
        from qkv_cli.cli import app

        app.build_command = functools.cache(app.build_command)  # type: ignore[assignment]


def _without_pip() -> None:
    """Let no input start pip, which takes a second."""
    from qkv_cli.errors import StoreError
    from qkv_cli.store import index as wheel

    def refuse(requirement: str, *arguments: object, **settings: object) -> Path:
        raise StoreError(f"pip cannot download {requirement}.")

    wheel.download_wheel = refuse  # type: ignore[assignment]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--inputs", required=True, help="a file: JSON, [target, first, end, step], ..."
    )
    parser.add_argument("--current", type=Path, required=True, help="where the input is written")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--reports", type=int, required=True, help="a descriptor")
    arguments = parser.parse_args()
    shared = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as scratch,
        arguments.current.open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as current,
        _server() as url,
    ):
        os.environ |= {"QKV_HOME": f"{scratch}/home", "HF_HOME": f"{scratch}/hf", "COLUMNS": "80"}
        os.environ |= {
            "HF_HUB_OFFLINE": "1",
            "PIP_INDEX_URL": f"{url}/simple",
            "NO_PROXY": "127.0.0.1",
        }
        os.environ |= {"RUST_BACKTRACE": "0", "TMPDIR": scratch}
        tempfile.tempdir = scratch
        _with_commands_built_once()
        _without_pip()
        reports = os.fdopen(arguments.reports, "w", buffering=1)
        current[8:108] = scratch.encode().ljust(100)
        reader = Reader(arguments.seeds, Path(scratch), arguments.seed)
        for text in TEXTS[:2]:
            _run(["attend", text, "--json"])
        gc.freeze()  # exclude existing objects from garbage collection
        with Path("/proc/self/statm").open() as statm:
            mapped = int(statm.read().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        count = 0
        for target, first, end, step in json.loads(Path(arguments.inputs).read_text()):
            for index in range(first, end, step):
                current[0:8] = count.to_bytes(8, "little")
                for fault in reader.read(target, index, arguments.keep):
                    print(json.dumps([target, index, fault]), file=reports)
                count += 1
                if count % 100 == 0:
                    gc.collect()
        current[0:8] = count.to_bytes(8, "little")
        print(json.dumps(["", 0, "end"]), file=reports)


if __name__ == "__main__":
    main()
