"""`qkv attend` as a user runs it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qkv_cli.session.load import load

TEXT = "The mango and the apple are fruits that grow on a tree"


@pytest.fixture
def attend(qkv: Callable, tiny_glove: Path) -> Callable:
    """`qkv attend -m TINY ARGS`."""
    return lambda *args, stdin="": qkv("attend", "-m", tiny_glove, *args, stdin=stdin)


def document(result) -> dict:
    assert (result.code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_attend_draws_every_head_and_names_model(attend) -> None:
    result = attend(TEXT)
    assert (result.code, result.stderr) == (0, "")
    for text in ("tiny", "learned in a test", "L0H0", "L0H1", "L0H2", "L0H3", "mango"):
        assert text in result.stdout
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_attend_json_equals_arrays_of_model(attend, tiny_glove) -> None:
    result = document(attend(TEXT, "--json", "--include", "scores,q", "--include", "z"))
    [layer] = load(tiny_glove).read(TEXT).layers
    assert [m["name"] for m in result["maps"]] == ["L0H0", "L0H1", "L0H2", "L0H3"]
    for head, m in enumerate(result["maps"]):
        assert np.array_equal(np.float32(m["pattern"]), layer.attn.pattern()[head])
        assert np.array_equal(np.float32(m["q"]), layer.attn.q[head])
        assert np.array_equal(np.float32(m["z"]), layer.attn.z[head])
        assert m["scores"][0][0] is None
        assert "k" not in m
    assert [t["text"] for t in result["queries"]] == TEXT.split()


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (["--head", "3"], ["L0H3"]),
        (["--head", "-1", "--head", "0:2"], ["L0H3", "L0H0", "L0H1"]),
        (["--head", "L0H2"], ["L0H2"]),
        (["--layer", "all", "--head", "L0H*"], ["L0H0", "L0H1", "L0H2", "L0H3"]),
        (["--mean"], ["L0 mean of 4"]),
        (["--mean", "--head", "1:3"], ["L0 mean of H1 H2"]),
    ],
)
def test_attend_head_and_layer_options_select_maps(attend, args, names) -> None:
    assert [m["name"] for m in document(attend(TEXT, "--json", *args))["maps"]] == names


def test_attend_mean_equals_average_of_heads(attend) -> None:
    heads = document(attend(TEXT, "--json"))["maps"]
    [mean] = document(attend(TEXT, "--json", "--mean"))["maps"]
    assert np.allclose(mean["pattern"], np.mean([m["pattern"] for m in heads], axis=0), atol=1e-7)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--head", "4"], "Head 4 does not exist: this model has heads 0 to 3."),
        (["--layer", "1"], "Layer 1 does not exist: this model has only layer 0."),
        (["--head", "L0X"], "'L0X' is not a head name"),
        (["--window", "3"], "'3' is not a window"),
        (
            ["--window", "3:99"],
            "Window 3:99 is empty or out of range: the text has tokens 0 to 11.",
        ),
        (["--palette", "rainbow"], "Unknown palette 'rainbow': use viridis,"),
        (["--json", "--format", "csv"], "Use either --json or --format csv, not both."),
        (["--include", "q"], "--include needs --json"),
        (["--json", "--include", "w"], "Unknown array 'w': --include takes scores, q, k, v, z."),
        (
            ["--json", "--mean", "--include", "q"],
            "L0 mean of 4 has no q: --include q does not apply to it.",
        ),
        (["-o", "map.doc"], "Unknown file type .doc: use .txt,"),
        (["-o", "map.csv", "--json"], "Use either --json or -o map.csv, not both."),
        (["--source", "a tree", "--causal"], "Use either --causal or --source, not both"),
        (["--weighting", "soft"], "'soft' is not one of"),
        (["--random-heads", "-1"], "-1 is not in the range x>=0"),
    ],
)
def test_attend_with_invalid_option_prints_one_line_error(attend, args, message) -> None:
    result = attend(TEXT, *args)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.startswith("qkv: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("digits", ["9" * 5000, "²"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--head", "{}"),
        ("--head", "-{}"),
        ("--head", "{}:"),
        ("--head", "L{}H0"),
        ("--layer", "L0H{}"),
        ("--window", "{}:"),
        ("--query", "{}"),
        ("--query", "-{}"),
    ],
)
def test_option_with_huge_or_superscript_number_prints_short_one_line_error(
    qkv, tiny_glove, option, value, digits
):
    command = "explain" if option == "--query" else "attend"
    result = qkv(command, TEXT, "-m", tiny_glove, option, value.format(digits))
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith("qkv: ")
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 2000


def test_attend_with_source_gives_cross_attention(attend, tiny_glove) -> None:
    result = document(attend("the river bank", "--source", "a fisherman sat", "--json"))
    assert [t["text"] for t in result["keys"]] == ["a", "fisherman", "sat"]
    assert {m["block"] for m in result["maps"]} == {"cross"}
    layers = list(load(tiny_glove).read("the river bank", "a fisherman sat").layers)
    assert np.array_equal(np.float32(result["maps"][1]["pattern"]), layers[-1].cross.pattern()[1])


def test_attend_applies_weighting_and_causal_mask(attend) -> None:
    result = document(attend(TEXT, "--json", "--weighting", "hard", "--causal"))
    assert (result["weighting"], result["causal"]) == ("hard", True)
    pattern = np.array(result["maps"][0]["pattern"])
    assert set(pattern.ravel()) == {0.0, 1.0}
    assert not np.triu(pattern).any()
    assert "hard" in attend(TEXT, "--weighting", "hard").stdout
    assert "linear" in attend(TEXT, "--weighting", "linear").stdout


def test_attend_with_random_heads_states_untrained_origin_and_seed(attend) -> None:
    assert "untrained" in attend(TEXT, "--random-heads", "1").stdout
    result = document(attend(TEXT, "--random-heads", "1", "--json"))
    assert result["model"]["origin"] == "random (seed 1), untrained"
    assert result != document(attend(TEXT, "--random-heads", "2", "--json"))


def test_attend_window_keeps_weights_and_token_indices(attend) -> None:
    uncut = document(attend(TEXT, "--json", "--head", "0"))
    part = document(attend(TEXT, "--json", "--head", "0", "--window", "4:7"))
    assert [t["i"] for t in part["keys"]] == [4, 5, 6]
    assert part["maps"][0]["pattern"] == [row[4:7] for row in uncut["maps"][0]["pattern"][4:7]]
    assert document(attend(TEXT, "--json", "--window", "9:"))["queries"][0]["text"] == "on"


def test_attend_reads_standard_input_files_and_lines(attend, tmp_path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(b"\xef\xbb\xbfthe river\r\n\r\n  a tree\n")
    piped = document(attend("-", "--json", stdin="the river"))
    assert piped["text"] == "the river"
    assert document(attend("--json", stdin="the river")) == piped
    assert document(attend("--file", file, "--json"))["text"].startswith("the river\r\n")
    result = attend("-f", file, "-f", file, "--lines", "--json")
    texts = [json.loads(line)["text"] for line in result.stdout.splitlines()]
    assert texts == ["the river", "a tree"] * 2
    assert attend("a tree\nthe river", "--lines").stdout.count("tiny  ") == 2


def test_attend_lines_prints_each_result_while_pipe_is_open(tiny_glove) -> None:
    args = [sys.executable, "-m", "qkv_cli", "attend", "-", "--lines", "-m", str(tiny_glove)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdin.write(b"the river\n")
        child.stdin.flush()
        assert b"tiny" in child.stdout.readline()
        child.stdin.close()
        child.stdout.read()
    assert child.returncode == 0


def test_attend_csv_has_one_row_per_weight(attend) -> None:
    rows = list(csv.DictReader(io.StringIO(attend("the river", "--format", "csv").stdout)))
    assert len(rows) == 4 * 2 * 2


def test_attend_csv_of_lines_has_column_of_text_numbers(attend, qkv, tmp_path: Path) -> None:
    result = attend("the river\na tree on", "--lines", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["text"] for row in rows] == ["0"] * 4 * 2 * 2 + ["1"] * 4 * 3 * 3
    assert {row["query"] for row in rows if row["text"] == "1"} == {"a", "tree", "on"}
    single_text = attend("the river", "--lines", "--format", "csv").stdout
    assert single_text.startswith("text,map,block,")
    attend("the river\na tree on", "--lines", "-o", tmp_path / "two.csv")
    assert (tmp_path / "two.csv").read_text() == result.stdout
    lines = attend("the river\na tree on", "--lines", "--format", "jsonl").stdout
    assert qkv("render", "-", "--format", "csv", stdin=lines).stdout == result.stdout


def test_render_csv_of_documents_with_different_quantities_is_refused(attend, qkv) -> None:
    documents = "".join(
        attend("the river", "--json", *m).stdout for m in ((), ("--show", "scores"))
    )
    result = qkv("render", "-", "--format", "csv", stdin=documents)
    assert result.code == 2
    assert "A .csv file cannot contain both weights and scores" in result.stderr


@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.jsonl", "a.csv", "a.npz"])
def test_attend_output_writes_file_and_reports_it(attend, tmp_path, name) -> None:
    message = f"qkv: Wrote {tmp_path / name} (4 heads, 12 words)\n"
    assert attend(TEXT, "-o", tmp_path / name) == (0, "", message)
    assert [file.name for file in tmp_path.iterdir() if file.stat().st_size] == [name]


def test_attend_output_with_unknown_suffix_uses_given_format(attend, tmp_path) -> None:
    attend(TEXT, "-o", tmp_path / "a.dat", "--json")
    assert json.loads((tmp_path / "a.dat").read_text())["text"] == TEXT


def test_attend_with_unknown_words_marks_and_reports_them(attend) -> None:
    result = attend("the zzyx \x1b[31m bank of zzyx", "--json")
    assert [t["text"] for t in json.loads(result.stdout)["queries"] if t["unknown"]]
    assert result.stderr.startswith("qkv: ")
    assert "unknown to tiny: zzyx" in result.stderr
    assert "\x1b" not in result.stderr + attend("the zzyx \x1b[31m bank").stdout


def test_attend_of_unknown_words_only_still_gives_weights(attend) -> None:
    result = attend("qwx zzyx", "--json", "--head", "0")
    assert result.code == 0
    assert json.loads(result.stdout)["maps"][0]["pattern"] == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", 2, "The text is empty"),
        (b" \n\t", 2, "The text is empty"),
        (b"\x7fELF\x02\x00\x00", 2, "standard input is binary, not text: byte 6 is 0."),
        (b"caf\xe9", 2, "standard input is not valid UTF-8: byte 4 is 0xe9."),
        (b"\xff\xfet\x00", 2, "standard input is UTF-16"),
        (b"\xed\xb2\x80", 2, "not valid UTF-8: byte 1 is 0xed."),
    ],
)
def test_attend_with_unusable_input_prints_one_line_error(attend, data, code, message) -> None:
    result = attend("-", stdin=data)
    assert (result.code, result.stdout) == (code, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_attend_with_missing_or_several_texts_exits_2_and_explains(attend, tmp_path) -> None:
    assert (
        "Expected one text, found 2: put the whole text in one pair of quotes."
        in attend("the", "river").stderr
    )
    assert attend("the river", "--file", tmp_path / "x").code == 2
    missing = attend("--file", tmp_path / "missing")
    assert (missing.code, missing.stdout) == (2, "")
    assert ": No such file" in missing.stderr
    assert ": Is a directory" in attend("--file", tmp_path).stderr
    assert "not valid UTF-8" in attend("caf\udce9").stderr
    assert "contains no words" in attend("-", "--lines", stdin="\n \n").stderr


def test_attend_color_option_overrides_environment(attend, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert "\x1b[" not in attend(TEXT).stdout
    assert "\x1b[" in attend(TEXT, "--color", "always").stdout
    assert "48;2;" in attend(TEXT, "--color", "always").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" in attend(TEXT, "--color", "always").stdout
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b[" in attend(TEXT, "--color", "always").stdout
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" not in attend(TEXT, "--color", "never").stdout


@pytest.mark.parametrize("width", [20, 43, 200])
def test_attend_lines_fit_given_width(attend, width) -> None:
    lines = attend(TEXT, "--width", width).stdout.splitlines()
    assert max(map(len, lines)) <= width


def test_attend_into_closed_pipe_exits_0_silently(tiny_glove) -> None:
    command = f"{sys.executable} -m qkv_cli attend -f - --lines -m {tiny_glove} | head -1"
    text = "the river bank\n" * 300
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], input=text, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_attend_to_full_disk_prints_one_line_error(tiny_glove) -> None:
    for args in ("", "--json", "-o /dev/full --json"):
        command = f"{sys.executable} -m qkv_cli attend '{TEXT}' -m {tiny_glove} {args} > /dev/full"
        result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert "No space left on device" in result.stderr


def test_attend_in_ascii_encoding_succeeds(tiny_glove) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "qkv_cli", "attend", TEXT, "-m", str(tiny_glove)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "mango" in result.stdout
