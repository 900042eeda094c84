"""Control characters from files, names and command lines are escaped in every command's output."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
import xml.dom.minidom
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result

Qkv = Callable[..., Result]
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eabc\u2066\r\nqkv: fine\u2028[bold red]x\udcff"
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200f\u061c\u2028\u2029")


def acts(text: str) -> set[str]:
    """The control characters of an output, without the colour codes of qkv."""
    text = _COLOR.sub("", text)
    odd = {c for c in text if unicodedata.category(c) in ("Cc", "Cs")} - {"\n"}
    return odd | _BIDI.intersection(text)


def poisoned(value: Any) -> Any:
    """Replace every string of a JSON value except those of fields with a fixed set of values."""
    if isinstance(value, dict):
        fixed_fields = ("schema", "weighting", "shown", "block", "type", "kind")
        return {k: v if k in fixed_fields else poisoned(v) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(v) for v in value]
    return EVIL if isinstance(value, str) else value


@pytest.fixture
def evil_model(tiny_glove: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "evil"
    shutil.copytree(tiny_glove, folder)
    config = json.loads((folder / "config.json").read_text())
    for name in ("name", "origin", "about", "licence"):
        config[name] = EVIL.replace("\udcff", "")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


COMMANDS = [
    ("attend", EVIL),
    ("attend", EVIL, "--head", "L0H0", "--color", "always"),
    ("attend", "the river", "--source", EVIL),
    ("explain", f"the river {EVIL}"),
    ("focus", f"the {EVIL}", "--key", "0"),
    ("grid", EVIL),
    ("heads", "-"),
    ("compare", "L0H0", "L0H1", EVIL),
    ("next", EVIL),
    ("models", "list"),
    ("attend", "--head", EVIL, "the river"),
    ("attend", "--layer", EVIL, "the river"),
    ("attend", "--palette", EVIL, "the river"),
    ("attend", "-o", f"/tmp/none/{EVIL}.svg", "the river"),
    ("attend", "-f", EVIL),
    ("render", EVIL),
    (EVIL,),
    ("attend", f"--{EVIL}", "x"),
]


@pytest.mark.parametrize(
    "command", COMMANDS, ids=lambda command: command[0][:6] + "-" + str(len(command))
)
def test_command_with_hostile_argument_prints_no_control_characters(
    qkv: Qkv, evil_model: Path, command: tuple[str, ...]
) -> None:
    model = (
        ("-m", evil_model) if command[0] in ("attend", "explain", "focus", "grid", "heads") else ()
    )
    outcome = qkv(*command, *model, stdin=EVIL.encode("utf-8", "replace"))
    assert outcome.code in (0, 2)
    assert outcome.stdout or outcome.stderr
    assert acts(outcome.stdout) == acts(outcome.stderr) == set()
    assert all(line.startswith("qkv: ") for line in outcome.stderr.splitlines())
    assert "qkv: fine" not in outcome.stderr.splitlines()


@pytest.mark.parametrize("command", [("show",), ("check",), ("neighbors", "river"), ("path",)])
def test_models_command_on_hostile_config_prints_no_control_characters(
    qkv: Qkv, evil_model: Path, command: tuple[str, ...]
) -> None:
    name = command[0]
    arguments = command[1:]
    order = (
        ("models", name, *arguments, "-m", evil_model)
        if arguments
        else ("models", name, evil_model)
    )
    outcome = qkv(*order)
    assert acts(outcome.stdout) == acts(outcome.stderr) == set()


@pytest.mark.parametrize(
    "command",
    [
        ("attend", "the river bank"),
        ("attend", "the river", "--source", "a bank"),
        ("explain", "the river bank"),
        ("compare", "L0H0", "L0H1", "the river bank"),
        ("focus", "the river bank", "--key", "0"),
    ],
)
@pytest.mark.parametrize("kind", ["text", "svg", "html"])
def test_render_of_hostile_document_writes_no_control_characters(
    qkv: Qkv, tmp_path: Path, command: tuple[str, ...], kind: str
) -> None:
    document = poisoned(json.loads(qkv(*command, "--json").stdout))
    for name in ("queries", "keys"):  # offsets must lie in the text
        for token in document.get(name, []):
            token |= {"start": 0, "end": 0, "text": EVIL}
    path = tmp_path / "d.json"
    path.write_text(json.dumps(document))
    if kind == "text":
        outcome = qkv("render", path, "--color", "always")
        assert acts(outcome.stdout) == acts(outcome.stderr) == set()
        return
    picture_file = tmp_path / f"d.{kind}"
    outcome = qkv("render", path, "-o", picture_file)
    assert acts(outcome.stderr) == set()
    if outcome.code == 0:
        text = picture_file.read_text("utf-8")
        assert acts(text.replace("\t", "")) == set()
        if kind == "svg":
            xml.dom.minidom.parseString(text)


def test_attend_with_unknown_word_of_100_kilobytes_truncates_warning(
    qkv: Qkv, tiny_glove: Path
) -> None:
    outcome = qkv("attend", f"the {'z' * 100_000} river", "-m", tiny_glove)
    assert outcome.code == 0
    assert len(outcome.stderr) < 1100
    assert "unknown to tiny" in outcome.stderr
