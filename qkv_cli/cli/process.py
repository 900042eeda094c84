"""The process around a command: signals, closed standard streams, the environment's COLUMNS."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import IO

NARROWEST, WIDEST = 20, 10_000  # columns that output is laid out for
_received: list[int] = []  # signals that asked this process to end


def handle_signals() -> None:
    """Let SIGTERM and SIGHUP unwind the program as Ctrl-C does, so that it cleans up.

    A signal that was ignored when the program began (`nohup`) stays ignored.
    """
    _received.clear()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def exit_code() -> int | None:
    """128 and the number of the signal that ended the program; None if none did."""
    return 128 + _received[0] if _received else None


def open_closed_streams() -> None:
    """Give closed standard streams their descriptors back, so that no file of ours gets them.

    Reading or writing them fails as it would have; messages to a closed stderr are dropped.
    """
    if sys.stdin is None:
        sys.stdin = _unusable(0, os.O_WRONLY, "r")
    if sys.stdout is None:
        sys.stdout = _unusable(1, os.O_RDONLY, "w")
    if sys.stderr is None:
        sys.stderr = _unusable(2, os.O_WRONLY, "w")


def check_columns() -> None:
    """Make COLUMNS a usable width for everything that reads it; ignore it where it is not a number.

    0, as some multiplexers and build servers export it, means unknown.
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
