"""Output where the terminal's encoding has no block characters or arrows."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BANK = "the fisherman sat on the bank of the river"
COMMANDS = {
    "attend": ["attend", BANK, "--head", "0:2"],
    "colour": ["attend", BANK, "--color", "always"],
    "explain": ["explain", BANK, "--query", "bank", "--key", "river"],
    "grid": ["grid", BANK, "--color", "always"],
}


def run(encoding: str, args: list[str]) -> str:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "qkv_cli", *args], capture_output=True, env=environment, check=True
    )
    return done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("name", COMMANDS)
def test_output_in_limited_encoding_substitutes_missing_characters(encoding, name) -> None:
    result = run(encoding, COMMANDS[name])
    assert "??" not in result
    assert "L0H" in result or "L0" in result


def test_attend_in_ascii_draws_weights_as_shades() -> None:
    result = run("ascii", ["attend", "the river bank", "--head", "4", "--width", "60"])
    assert "0 ..::--==++**##%%@@ .99" in result
    assert "bank > " in result
