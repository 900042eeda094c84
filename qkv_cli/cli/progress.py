"""Progress on stderr.

What is being done is shown after one second: on a terminal, a line that is updated, and removed
before anything else is printed; in a log, a new line every ten seconds. Downloads and training
have a bar on a terminal, else occasional lines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

from qkv_cli.figures import thousandths

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from qkv_cli.core.block import LayerTrace
    from qkv_cli.training.learn import Progress as Step

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

    def show(self, activity: str) -> None:
        with self.lock:
            if not self.what:
                self.since = self.written = monotonic()
            self.what = activity
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


def report_activity(activity: str) -> None:
    """Set what is being done, until the next call or `clear_progress`."""
    _ticker.show(activity)


def report_summary(summary: str) -> None:
    """Set what has been done so far, which is shown before what is being done."""
    _ticker.so_far = f"{summary}; "


def clear_progress() -> None:
    """Remove the line, before something else is printed or at the end."""
    _ticker.clear()


def count_layers(layers: Iterator[LayerTrace], n_layers: int, title: str) -> Iterator[LayerTrace]:
    """Yield layers, and show which one is being computed."""
    name = f"{title}, layer {{}} of {n_layers}"
    report_activity(name.format(1))
    for nth, layer in enumerate(layers, 2):
        yield layer
        report_activity(name.format(min(nth, n_layers)))


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


@contextmanager
def counting_bar(title: str) -> Iterator[Callable[[int, int], object]]:
    """Yield a function to call with the number so far, and in all."""
    from rich.progress import TaskProgressColumn

    with _bar(title, TaskProgressColumn()) as advance:
        yield advance


@contextmanager
def download_bar(title: str) -> Iterator[Callable[[int, int], object]]:
    """Yield the same for bytes from the network."""
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True))
    with _bar(title, *columns) as advance:
        yield advance


def start_new_line() -> None:
    """Start a new line: a terminal writes ^C where it was pressed."""
    if sys.stderr.isatty():
        print(file=sys.stderr)  # noqa: T201


@contextmanager
def _bar(title: str, *figures: ProgressColumn) -> Iterator[Callable[[int, int], object]]:
    if not sys.stderr.isatty():
        yield lambda n_done, total: None
        return
    from rich.progress import BarColumn, TextColumn

    columns = (TextColumn(title, markup=False), BarColumn(bar_width=24), *figures)
    with _bars(*columns) as bars:
        task = bars.add_task("", total=None)
        yield lambda n_done, total: bars.update(task, completed=n_done, total=total)


@contextmanager
def training_bar() -> Iterator[Callable[[Step], None]]:
    """Yield a function to call after each training step."""
    if not sys.stderr.isatty():
        yield _note_step
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(compact=True),
    )
    with _bars(*columns) as bars:
        task, accuracy = bars.add_task("", total=1.0, figures=""), ""

        def show(step: Step) -> None:
            nonlocal accuracy
            if step.accuracy is not None:
                accuracy = f"  held-out {thousandths(step.accuracy)}"
            speed = f"{step.n_words / step.elapsed:,.0f} words/s"
            figures = f"loss {thousandths(step.loss)}{accuracy}  {speed}"
            bars.update(task, completed=step.fraction, figures=figures)

        yield show


def _bars(*columns: ProgressColumn) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(stderr=True), transient=True)


def _note_step(step: Step) -> None:
    from qkv_cli.cli.output import note

    if step.accuracy is None:
        return
    seconds = step.elapsed * (1 - step.fraction) / step.fraction
    note(
        f"{step.fraction:4.0%}  loss {thousandths(step.loss)}  "
        f"held-out {thousandths(step.accuracy)}  "
        f"{step.n_words / step.elapsed:,.0f} words/s  {seconds:,.0f} s left"
    )
