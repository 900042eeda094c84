"""The progress line on stderr of a slow command."""

from __future__ import annotations

import io
import time

import pytest

from qkv_cli.cli import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the delays before progress is shown and redrawn."""
    monkeypatch.setattr(progress, "PATIENCE", 0.02)
    monkeypatch.setattr(progress, "LOG_PATIENCE", 0.02)
    monkeypatch.setattr(progress, "REDRAW", 0.005)
    monkeypatch.setattr(progress, "_ticker", progress._Ticker())


def wait_for(stream: io.StringIO, text: str) -> None:
    deadline = time.monotonic() + 5
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, stream.getvalue()
        time.sleep(0.005)


@pytest.mark.usefixtures("quick")
def test_progress_on_terminal_rewrites_one_line_and_clears_it(monkeypatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "40")
    for name in progress.count_layers(iter("abc"), 3, "tiny" + "x" * 100):  # type: ignore[arg-type]
        wait_for(stream, "\r" + "tiny" + "x" * 35 + "\x1b[K")
        assert name in "abc"
    progress.clear_progress()
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "\n" not in stream.getvalue()
    n_written = len(stream.getvalue())
    time.sleep(0.05)
    assert len(stream.getvalue()) == n_written  # nothing more is written


@pytest.mark.usefixtures("quick")
def test_progress_in_log_writes_whole_lines_without_control_codes(monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    progress.report_summary("3 texts read")
    progress.report_activity("tiny, layer 1 of 3")
    wait_for(stream, "qkv: 3 texts read; tiny, layer 1 of 3 (0 s)\n")
    progress.clear_progress()
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()


def test_progress_of_work_shorter_than_one_second_writes_nothing(monkeypatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    for _ in progress.count_layers(iter("abc"), 3, "tiny"):  # type: ignore[arg-type]
        pass
    progress.clear_progress()
    assert stream.getvalue() == ""
