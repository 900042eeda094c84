"""`qkv render`: draw written files, and convert them to other formats."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

TEXT = "The mango and the apple are fruits that grow on a tree"


@pytest.fixture
def attend_to_file(qkv: Callable, tiny_glove: Path, tmp_path: Path) -> Callable:
    """Run `qkv attend TEXT -m TINY -o NAME ARGS` and return the path of the file."""

    def write(name: str, *args: str) -> Path:
        assert qkv("attend", TEXT, "-m", tiny_glove, "-o", tmp_path / name, *args).code == 0
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.npz"])
@pytest.mark.parametrize(
    "args", [[], ["--head", "L0H2", "--numbers"], ["--window", "3:8", "--mean"]]
)
def test_render_of_attend_file_draws_same_picture(
    qkv, tiny_glove, attend_to_file, name, args
) -> None:
    picture = qkv("attend", TEXT, "-m", tiny_glove, *args)
    assert qkv("render", attend_to_file(name), *args) == picture


def test_render_of_cross_attention_file_draws_same_picture(qkv, tiny_glove, attend_to_file) -> None:
    picture = qkv("attend", TEXT, "-m", tiny_glove, "--source", "the river bank")
    assert qkv("render", attend_to_file("a.json", "--source", "the river bank")) == picture


def test_render_reads_standard_input_and_several_files(qkv, attend_to_file) -> None:
    file = attend_to_file("a.json")
    once = qkv("render", "-", stdin=file.read_bytes())
    assert once.code == 0
    assert once.stdout == qkv("render", file).stdout
    assert qkv("render", file, file).stdout == f"{once.stdout}\n{once.stdout}"


def test_render_converts_json_to_npz_and_csv(qkv, attend_to_file, tmp_path) -> None:
    file = attend_to_file("a.json", "--include", "scores,k")
    assert qkv("render", file, "-o", tmp_path / "a.npz", "--include", "k").code == 0
    converted = qkv("render", tmp_path / "a.npz", "--json", "--include", "k")
    assert (
        json.loads(converted.stdout)["maps"][0]["k"] == json.loads(file.read_text())["maps"][0]["k"]
    )
    assert qkv("render", file, "--format", "csv").stdout.startswith("map,block,layer,head,")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty."),
        (b"{", "not valid JSON:"),
        (b"\x7fELF\x02", "not valid JSON"),
        (b'{"schema":"qkv.attention/2"}', "qkv.attention/2"),
        (b"PK\x03\x04", "not a readable .npz archive"),
    ],
)
def test_render_of_invalid_file_prints_one_line_error_with_path(
    qkv, tmp_path, data, message
) -> None:
    file = tmp_path / "broken"
    file.write_bytes(data)
    result = qkv("render", file)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert str(file) in result.stderr
    assert result.stderr.count("\n") == 1


def test_render_with_head_missing_from_file_exits_2_and_lists_heads(qkv, attend_to_file) -> None:
    result = qkv("render", attend_to_file("a.json", "--head", "1"), "--head", "L0H2")
    assert (result.code, result.stdout) == (2, "")
    assert "The file has no L0H2: it has L0H1." in result.stderr
    assert qkv("render").code == 2


def test_render_with_grid_option_draws_thumbnails_of_grid_without_marks(
    qkv, tiny_glove, attend_to_file
) -> None:
    picture = qkv("grid", TEXT, "-m", tiny_glove, "--shuffles", "0")
    assert qkv("render", attend_to_file("a.json"), "--grid") == picture
    assert qkv("render", attend_to_file("a.json"), "--grid", "--numbers").code == 2


def test_attend_scores_with_numbers_separates_minus_sign_from_shade(qkv, tiny_glove) -> None:
    args = ["attend", TEXT, "-m", tiny_glove, "--show", "scores", "--width", "200"]
    picture = qkv(*args, "--head", "0", "--numbers").stdout
    rows = [line for line in picture.splitlines() if line.strip().split(" ")[0] in TEXT.split()]
    assert re.search(r"[^\w\s] +-\d*\.\d", "".join(rows))
    assert not re.search(r"[^\s\w]-\d*\.\d", "".join(rows))
    assert "softmax" not in qkv(*args, "--weighting", "hard").stdout
