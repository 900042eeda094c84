"""The examples in the docs of commands run and print the shown output."""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qkv_cli.export
from qkv_cli.analysis.labels import LEAST_EFFECT, P_LEVEL
from qkv_cli.export.heads import CSV_COLUMNS
from qkv_cli.maps.compute import MAX_REPEATED

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(qkv_cli.export.__file__).parent
PAGES = {"heads": ["heads"], "focus": ["focus"], "compare": ["compare", "nearest"]}


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str, language: str) -> str:
    return "".join(re.findall(rf"^```{language}\n(.*?)^```$", page(name), flags=re.M | re.S))


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder that the examples may write to, with the sample texts."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("QKV_MODEL", raising=False)
    (tmp_path / "sample_texts").symlink_to(ROOT / "sample_texts")
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
@pytest.mark.parametrize("name", [*PAGES, "pictures"])
def test_shell_examples_of_docs_succeed(name: str) -> None:
    for line in filter(None, blocks(name, "sh").splitlines()):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert done.returncode == 0 and (done.stdout or "-o " in line), f"{line}\n{done.stderr}"


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_jq_examples_of_docs_print_documented_output(name: str) -> None:
    parts = blocks(name, "console").split("$ ")[1:]
    assert len(parts) >= 2
    for part in parts:
        command, _, output = part.partition("\n")
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert done.stdout == output, command


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("language", ["pycon", "pandas"])
def test_python_examples_of_docs_print_documented_output(name: str, language: str) -> None:
    if language == "pandas" and not importlib.util.find_spec("pandas"):
        pytest.skip("pandas is not installed")
    examples_text = blocks(name, language)
    examples = doctest.DocTestParser().get_doctest(examples_text, {}, f"{name}.md", None, 0)
    report: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    assert result.attempted >= (3 if language == "pycon" else bool(examples_text))
    assert result.failed == 0, "".join(report)


@pytest.mark.parametrize(("name", "schema"), [(n, s) for n in PAGES for s in PAGES[n]])
def test_docs_of_commands_describe_every_schema_field(name: str, schema: str) -> None:
    result = json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8"))
    described = set(re.findall(r"`(\w+)`", page(name)))
    parts = [result, *(part for part in result["$defs"].values() if "properties" in part)]
    assert {field for part in parts for field in part["properties"]} <= described
    assert f'"{result["properties"]["schema"]["const"]}"' in page(name)


def test_docs_of_heads_state_constants_of_program() -> None:
    text = page("heads")
    assert (LEAST_EFFECT, P_LEVEL, MAX_REPEATED) == (0.25, 0.01, 16)
    assert "effect is .25 or more and p is .01 or less" in text
    assert "(16 of them" in text
    assert ",".join(CSV_COLUMNS) in text
