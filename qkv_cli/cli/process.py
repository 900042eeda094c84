"""The process of a command: signals, closed standard streams, COLUMNS."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import IO

NARROWEST, WIDEST = 20, 10_000  # minimum and maximum width of output
_received: list[int] = []  # signals that asked this process to exit


def handle_signals() -> None:
    """Let SIGTERM and SIGHUP unwind the program like Ctrl-C, so it cleans up.

    A signal that was ignored at the start (`nohup`) stays ignored.
    """
    _received.clear()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def exit_code() -> int | None:
    """Return 128 plus the number of the signal that ended the program; None if none did."""
    return 128 + _received[0] if _received else None


def open_closed_streams() -> None:
    """Reopen closed standard streams, so that no other file gets their descriptors.

    Reading and writing them still fails; messages to a closed stderr are dropped.
    """
    if sys.stdin is None:
        sys.stdin = _unusable(0, os.O_WRONLY, "r")
    if sys.stdout is None:
        sys.stdout = _unusable(1, os.O_RDONLY, "w")
    if sys.stderr is None:
        sys.stderr = _unusable(2, os.O_WRONLY, "w")


def check_columns() -> None:
    """Make COLUMNS a usable width; ignore it if it is not a number.

    0, which some multiplexers and build servers export, means unknown.
    """
    text = os.environ.get("COLUMNS")
    if text is None:
        return
    if text.isascii() and text.isdigit() and text.strip("0"):
        n = int(text[:9])
        os.environ["COLUMNS"] = str(min(max(n, NARROWEST), WIDEST))
    else:
        del os.environ["COLUMNS"]


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _received or number == signal.SIGINT:
        _received.append(number)
        raise KeyboardInterrupt


def _unusable(descriptor: int, flags: int, mode: str) -> IO[str]:
    opened = os.open(os.devnull, flags)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    return open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False)
