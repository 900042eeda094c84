"""The examples of docs/json.md run, and it names every field of the schema."""

from __future__ import annotations

import doctest
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from export_examples import ARRAYS, SCHEMA, example

from qkv_cli.export.attention import CSV_COLUMNS, SUFFIXES, write_maps
from qkv_cli.export.document import SCHEMA as SCHEMA_NAME

DOCS = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def _blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", DOCS, flags=re.M | re.S))


@pytest.fixture
def example_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the document of the page in every file format."""
    for suffix in SUFFIXES:
        include = () if suffix == ".csv" else ARRAYS[1:]
        write_maps(tmp_path / f"zzyx{suffix}", [example()], include)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # the one-line examples do not close their files
@pytest.mark.parametrize("language", ["pycon", "pandas"])
def test_python_examples_of_json_page_print_documented_output(
    example_folder: Path, language: str
) -> None:
    if language == "pandas" and not importlib.util.find_spec("pandas"):
        pytest.skip("pandas is not installed")
    examples = doctest.DocTestParser().get_doctest(_blocks(language), {}, "json.md", None, 0)
    report: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    assert result.attempted >= 3 and result.failed == 0, "".join(report)


def _commands() -> Iterator[tuple[str, str]]:
    for part in _blocks("console").split("$ ")[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
@pytest.mark.parametrize(("command", "output"), list(_commands()))
def test_jq_examples_of_json_page_print_documented_output(
    example_folder: Path, command: str, output: str
) -> None:
    done = subprocess.run(command, shell=True, cwd=example_folder, capture_output=True, text=True)
    # Before 1.7, jq rounds what it prints to 17 digits, so 0.7772998 may get longer.
    assert (_numbers(done.stdout), done.stderr) == (_numbers(output), "")


def _numbers(text: str) -> str:
    return re.sub(r"\d\.\d{7,}", lambda number: f"{float(number[0]):.7f}", text)


def test_json_page_describes_every_schema_field() -> None:
    described = {
        name
        for line in DOCS.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    parts = [SCHEMA, SCHEMA["$defs"]["model"], SCHEMA["$defs"]["tokens"]["items"]]
    fields = {name for part in [*parts, SCHEMA["$defs"]["map"]] for name in part["properties"]}
    assert fields <= described
    assert f'"{SCHEMA_NAME}"' in DOCS and ",".join(CSV_COLUMNS) in DOCS
    assert all(f"| `{suffix}` |" in DOCS for suffix in SUFFIXES)
