"""The examples of README run, and its links exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.S)
    for line in block.splitlines()
    if line and not line.startswith("python3 ")
]
CORPUS = "the boat lay on the bank of the river\nshe sat on the bank\nmoney in the bank\n" * 3
VECTORS = "3 2\nriver 1 0\nbank 0.5 0.5\nmoney 0 1\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "corpus.txt").write_text(CORPUS, encoding="utf-8")
    (folder / "vectors.txt").write_text(VECTORS, encoding="utf-8")
    (folder / "sample_texts").symlink_to(ROOT / "sample_texts")
    return folder


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_readme_examples_succeed(place: Path) -> None:
    """Run the examples in order: some read files that earlier ones write."""
    bins = Path(sys.executable).parent
    home = {"QKV_HOME": str(place / "home"), "PATH": f"{bins}{os.pathsep}{os.environ['PATH']}"}
    for example in EXAMPLES:
        if "jq " in example and not shutil.which("jq"):
            continue
        quick = re.sub(r"--minutes \S+", "--epochs 1", example)
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", quick],
            cwd=place,
            env=os.environ | home,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert result.returncode == 0, f"{example}\n{result.stderr}"
        assert "Traceback" not in result.stderr
        assert result.stdout.strip() or "-o " in example, example


def test_readme_has_more_than_15_examples() -> None:
    assert len(EXAMPLES) > 15


def test_readme_test_command_is_run_by_ci() -> None:
    [command] = [line for line in README.splitlines() if "pytest" in line and line.startswith("p")]
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_links_of_readme_and_docs_point_to_existing_files() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
