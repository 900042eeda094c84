"""The entry point of the golden files lists every script that writes golden files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"
SEARCHES = {"draw.py", "edit_configs.py", "edits.py", "make.py"}  # they write no golden files


def test_golden_make_lists_every_script() -> None:
    source = (GOLDEN / "make.py").read_text(encoding="utf-8")
    scripts = {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*.py")}
    assert all(f'"{script}"' in source for script in scripts - SEARCHES)


def test_golden_make_of_unknown_name_lists_valid_names() -> None:
    outcome = subprocess.run(
        [sys.executable, GOLDEN / "make.py", "bert"], capture_output=True, text=True
    )
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("Unknown golden files 'bert': use all, checkpoints, ")
