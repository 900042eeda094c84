"""docs/heads.md is true: its examples run, and it names every field of the schema."""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qkv_cli.export
from qkv_cli.analysis.evidence import LEAST_EFFECT, P_LEVEL
from qkv_cli.analysis.shuffled import LONGEST
from qkv_cli.export.heads import CSV_COLUMNS, SCHEMA

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs" / "heads.md").read_text(encoding="utf-8")
FIELDS = json.loads(
    (Path(qkv_cli.export.__file__).parent / "heads.schema.json").read_text(encoding="utf-8")
)


def _blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", DOCS, flags=re.M | re.S))


@pytest.fixture(autouse=True)
def bins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("QKV_MODEL", raising=False)
    monkeypatch.chdir(ROOT)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_commands_run() -> None:
    for line in filter(None, _blocks("sh").splitlines()):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, f"{line}\n{done.stderr}"


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
def test_jq_prints_what_it_says() -> None:
    parts = _blocks("console").split("$ ")[1:]
    assert len(parts) == 2
    for part in parts:
        command, _, output = part.partition("\n")
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert done.stdout == output


def test_python_prints_what_it_says() -> None:
    examples = doctest.DocTestParser().get_doctest(_blocks("pycon"), {}, "heads.md", None, 0)
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    assert result.attempted >= 3 and result.failed == 0, "".join(said)


def test_every_field_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", DOCS))
    parts = [FIELDS, FIELDS["$defs"]["head"], FIELDS["$defs"]["evidence"]]
    assert {name for part in parts for name in part["properties"]} <= described
    assert f'"{SCHEMA}"' in DOCS and ",".join(CSV_COLUMNS) in DOCS


def test_its_numbers_are_the_program_s() -> None:
    assert (LEAST_EFFECT, P_LEVEL, LONGEST) == (0.25, 0.01, 16)
    assert "effect is .25 or more and p is .01 or less" in DOCS
    assert "(16 of them" in DOCS
