"""Recorded output in tests/golden. QKV_RECORD=1 records it again: look at it before a commit."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rich.cells import cell_len

GOLDEN = Path(__file__).parent / "golden"


def recorded(path: str, output: str) -> str:
    """Return the recording of a path in tests/golden; with QKV_RECORD, record `output` first."""
    file = GOLDEN / path
    if os.environ.get("QKV_RECORD"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(output, encoding="utf-8", newline="\n")
    return file.read_bytes().decode()


def check_plain(output: str, width: int) -> None:
    """Check that no line is wider than `width` cells, and that there are no control characters."""
    assert max(map(cell_len, output.splitlines())) <= width
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", output)
