"""Progress on stderr: a bar on a terminal, else occasional lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from qkv_cli.cli.output import note
from qkv_cli.figures import thousandths
from qkv_cli.training.learn import Progress as Step


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], object]]:
    """Yield a function to call with the number so far, and in all."""
    with _bar(what, TaskProgressColumn()) as advance:
        yield advance


@contextmanager
def fetching(what: str) -> Iterator[Callable[[int, int], object]]:
    """Yield the same for bytes from the network."""
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True))
    with _bar(what, *columns) as advance:
        yield advance


def below_ctrl_c() -> None:
    """Start a new line: a terminal writes ^C where it was pressed."""
    if sys.stderr.isatty():
        print(file=sys.stderr)  # noqa: T201


@contextmanager
def _bar(what: str, *figures: ProgressColumn) -> Iterator[Callable[[int, int], object]]:
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn(what, markup=False), BarColumn(bar_width=24), *figures)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def watching() -> Iterator[Callable[[Step], None]]:
    """Yield a function to call after each training step."""
    if not sys.stderr.isatty():
        yield _say
        return
    columns = (
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task, accuracy = bars.add_task("", total=1.0, figures=""), ""

        def show(step: Step) -> None:
            nonlocal accuracy
            if step.accuracy is not None:
                accuracy = f"  held-out {thousandths(step.accuracy)}"
            figures = (
                f"loss {thousandths(step.loss)}{accuracy}  {step.words / step.elapsed:,.0f} words/s"
            )
            bars.update(task, completed=step.done, figures=figures)

        yield show


def _say(step: Step) -> None:
    if step.accuracy is None:
        return
    left = step.elapsed * (1 - step.done) / step.done
    note(
        f"{step.done:4.0%}  loss {thousandths(step.loss)}  held-out {thousandths(step.accuracy)}  "
        f"{step.words / step.elapsed:,.0f} words/s  {left:,.0f} s left"
    )
