"""Modules imported at start-up, in a new interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from qkv_cli.names import DEFAULT_MODEL
from qkv_cli.store.catalogue import find

_RUN = """
import json, sys
from qkv_cli.cli.app import main
sys.argv = ["qkv", *sys.argv[1:]]
try:
    main()
except SystemExit as leaving:
    print(json.dumps([leaving.code or 0, sorted(sys.modules)]), file=sys.stderr)
"""


def imported(*args: str) -> set[str]:
    """The top-level modules that `qkv ARGS` has imported when it ends well."""
    result = subprocess.run(
        [sys.executable, "-c", _RUN, *args], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(result.stderr.splitlines()[-1])
    assert code == 0, result.stderr
    assert result.stdout
    return {name.partition(".")[0] for name in modules}


def test_help_does_not_import_numpy_tokenizers_or_plotting() -> None:
    for args in (["--help"], ["attend", "--help"]):
        heavy = {"numpy", "tokenizers", "gensim", "scipy", "safetensors", "textual", "matplotlib"}
        assert not imported(*args) & heavy


def test_attend_on_embedded_model_does_not_import_gensim_or_scipy() -> None:
    modules = imported("attend", "the river bank", "-m", DEFAULT_MODEL)
    assert {"numpy", "tokenizers"} <= modules
    assert not modules & {"gensim", "scipy", "safetensors", "smart_open", "textual", "matplotlib"}


def test_models_add_of_text_vectors_does_not_import_gensim(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("the 1 2\nbank 3 4\n")
    add = imported("models", "add", str(tmp_path / "m"), "--vectors", str(tmp_path / "v.txt"))
    assert not add & {"gensim", "scipy"}


def test_attend_html_does_not_import_matplotlib() -> None:
    assert "matplotlib" not in imported(
        "attend", "the river bank", "-m", DEFAULT_MODEL, "--format", "html"
    )
    assert "matplotlib" in imported(
        "attend", "the river bank", "-m", DEFAULT_MODEL, "--format", "svg"
    )


def test_find_of_default_model_returns_folder_in_package() -> None:
    import qkv_cli

    assert find(DEFAULT_MODEL).is_relative_to(Path(qkv_cli.__file__).parent)


def test_import_limits_openblas_to_one_thread_unless_already_set() -> None:
    code = "import qkv_cli.session.load, os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    for variables, n_threads in (({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")):
        around = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
        result = subprocess.check_output(
            [sys.executable, "-c", code], env=around | variables, text=True
        )
        assert result.strip() == n_threads
