"""A progress line on stderr, shown after one second.

On a terminal, the line is updated, and removed before anything else is printed. In a log, a new
line is written every ten seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkv_cli.core.block import LayerTrace

PATIENCE, LOG_PATIENCE = 1.0, 10.0  # seconds before the first line
REDRAW = 0.2


class _Ticker:
    """A thread that shows what is being done if it takes long."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.ended = Event()
        self.so_far = ""
        self.what = ""
        self.since = self.written = 0.0
        self.is_drawn = False
        self.thread: Thread | None = None

    def show(self, what: str) -> None:
        with self.lock:
            if not self.what:
                self.since = self.written = monotonic()
            self.what = what
        if self.thread is None:
            self.thread = Thread(target=self._run, daemon=True)
            self.thread.start()

    def clear(self) -> None:
        with self.lock:
            self.so_far = self.what = ""
            if self.is_drawn:
                _write("\r\x1b[K")
                self.is_drawn = False

    def _run(self) -> None:
        while not self.ended.wait(REDRAW):
            with self.lock:
                now = monotonic()
                if not self.what:
                    continue
                line = f"{self.so_far}{self.what} ({now - self.since:.0f} s)"
                if _is_terminal():
                    if now - self.since >= PATIENCE:
                        _write(f"\r{line[: _columns() - 1]}\x1b[K")
                        self.is_drawn = True
                elif now - self.written >= LOG_PATIENCE:
                    _write(f"qkv: {line}\n")
                    self.written = now


_ticker = _Ticker()


def working_on(what: str) -> None:
    """Set what is being done, until the next call or `finish`."""
    _ticker.show(what)


def so_far(what: str) -> None:
    """Set what has been done so far, which is shown before what is being done."""
    _ticker.so_far = f"{what}; "


def finish() -> None:
    """Remove the line, before something else is printed or at the end."""
    _ticker.clear()


def counted(layers: Iterator[LayerTrace], n_layers: int, what: str) -> Iterator[LayerTrace]:
    """Yield layers, and show which one is being computed."""
    name = f"{what}, layer {{}} of {n_layers}"
    working_on(name.format(1))
    for nth, layer in enumerate(layers, 2):
        yield layer
        working_on(name.format(min(nth, n_layers)))


def _is_terminal() -> bool:
    return sys.stderr.isatty()


def _columns() -> int:
    from shutil import get_terminal_size

    return max(20, get_terminal_size().columns)


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):  # the terminal is closed
        _ticker.ended.set()
