"""`qkv explain`: printed numbers add up, and written numbers are those of the head."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from jsonschema import Draft202012Validator
from rich.cells import cell_len

import qkv_cli.export
from qkv_cli.render.terminal.columns import sparkline
from qkv_cli.render.theme import Theme
from qkv_cli.session.load import load

Qkv = Callable[..., Result]
TEXT = "the fisherman sat on the bank of the river"
SCHEMA = json.loads(
    (Path(qkv_cli.export.__file__).parent / "explain.schema.json").read_text("utf-8")
)
CASES = [
    ["--query", "bank", "--key", "river"],
    ["--query", "bank", "--key", "river", "--head", "2"],
    ["--query", "0", "--key", "8", "--head", "L0H3"],
    ["--query", "sat", "--key", "on", "--weighting", "hard"],
    ["--query", "sat", "--key", "on", "--weighting", "linear"],
    ["--query", "sat", "--key", "river", "--causal"],  # masked: it comes later
    ["--query", "sat", "--key", "sat", "--head", "1"],  # masked: itself
    ["--query", "fisherman", "--key", "money", "--source", "she deposited the money"],
    ["--query", "bank", "--key", "of", "--top", "2"],
]
LONG = " and ".join([TEXT] * 3)


def totals(page: str) -> Iterator[tuple[list[Decimal], Decimal]]:
    """Yield the numbers above each ruled line, and the total below it."""
    lines = page.splitlines()
    for at, line in enumerate(lines):
        if set(line) != {" ", "─"}:
            continue
        for rule in re.finditer("─+", line):
            # A printed number ends where its rule ends.
            parts = []
            for previous_line in reversed(lines[:at]):
                if (number := ending_at(previous_line, rule.end())) is None:
                    break
                parts.append(number)
            total = ending_at(lines[at + 1], rule.end())
            assert total is not None, lines[at + 1]
            yield parts, total


def ending_at(line: str, end: int) -> Decimal | None:
    result = re.search(r" (-?\d*\.\d{4})$", line[:end])
    return Decimal(result[1]) if result else None


@pytest.mark.parametrize("width", [60, 80, 97, 200])
@pytest.mark.parametrize("args", CASES, ids=" ".join)
def test_explain_page_totals_equal_sum_of_printed_parts(
    tiny_glove: Path, qkv: Qkv, args: list[str], width: int
) -> None:
    result = qkv("explain", TEXT, "-m", tiny_glove, *args, "--width", width)
    assert result.code == 0, result.stderr
    sums = list(totals(result.stdout))
    assert len(sums) >= 8  # Q, K, V, the products, the blend, the output at least
    for parts, total in sums:
        assert len(parts) >= 2
        assert sum(parts) == total


def test_explain_of_long_text_sums_remaining_words_in_one_line(tiny_glove: Path, qkv: Qkv) -> None:
    result = qkv("explain", LONG, "-m", tiny_glove, "--query", "3", "--key", "7")
    assert "other words" in result.stdout
    for parts, total in totals(result.stdout):
        assert sum(parts) == total


def numbers_of_steps(page: str) -> list[list[Decimal]]:
    """The numbers of each step, also on folded lines; item 0 is the text before the first step."""
    parts = re.split(r"^\d{1,2} {1,2}(?=[^\W\d])", page, flags=re.M)
    return [[Decimal(n) for n in re.findall(r"-?\d*\.\d{4}(?!\d)", part)] for part in parts]


@pytest.mark.parametrize("width", [20, 31, 40, 47])
@pytest.mark.parametrize("args", CASES, ids=" ".join)
def test_explain_page_in_narrow_terminal_does_not_truncate_numbers(
    tiny_glove: Path, qkv: Qkv, args: list[str], width: int
) -> None:
    page = qkv("explain", TEXT, "-m", tiny_glove, *args, "--width", width).stdout
    assert max(map(cell_len, page.splitlines())) <= width
    assert not re.search(r"\d…", page)
    narrow = numbers_of_steps(page)
    wide = numbers_of_steps(qkv("explain", TEXT, "-m", tiny_glove, *args).stdout)
    assert len(narrow) == len(wide) == 12
    assert narrow[5:10] == wide[5:10]  # products to weights: the same lines at any width
    for step in (2, 3, 4):  # W e, b, their sum, in as many columns as fit
        product, bias, result = np.array(narrow[step]).reshape(3, -1)
        assert (product + bias == result).all()
    *parts, output = np.array(narrow[11]).reshape(5, -1)
    assert (sum(parts) == output).all()


def test_explain_page_products_and_scaled_score_are_consistent(tiny_glove: Path, qkv: Qkv) -> None:
    page = qkv("explain", TEXT, "-m", tiny_glove, *CASES[0]).stdout
    products = re.findall(r"d\d+ +(-?[\d.]+) × +(-?[\d.]+) = +(-?[\d.]+)", page)
    assert len(products) == 6
    for a, b, c in products:
        assert abs(Decimal(a) * Decimal(b) - Decimal(c)) <= Decimal("0.00005")
    [(dot, root, content)] = re.findall(r"(-?[\d.]+) / ([\d.]+) = (-?[\d.]+)", page)[:1]
    assert float(root) == pytest.approx(math.sqrt(8), abs=1e-6)
    assert float(content) == pytest.approx(float(dot) / float(root), abs=6e-5)
    [(left, sign, right, score)] = re.findall(r"(-?[\d.]+) ([+-]) ([\d.]+) = (-?[\d.]+)", page)
    assert Decimal(left) + Decimal(sign + right) == Decimal(score)


@pytest.mark.parametrize("args", CASES, ids=" ".join)
def test_explain_json_equals_steps_recomputed_from_tensors(
    tiny_glove: Path, qkv: Qkv, args: list[str]
) -> None:
    """Recompute every step from the tensors of the folder."""
    result = json.loads(qkv("explain", TEXT, "-m", tiny_glove, *args, "--json").stdout)
    Draft202012Validator(SCHEMA).validate(result)
    model = load(tiny_glove).model
    attn = model.stacks["encoder"].blocks[0].attn
    assert attn is not None
    h, i, j, d = result["head"], result["query"], result["key"], attn.d_head
    e_b, e_a = np.array(result["e_query"]), np.array(result["e_key"])
    cols = slice(h * d, (h + 1) * d)
    q, k, v = (
        e @ linear.matrix()[:, cols] + linear.b[cols]
        for e, linear in ((e_b, attn.q), (e_a, attn.k), (e_a, attn.v))
    )
    for name, expected in (("q", q), ("k", k), ("v", v), ("products", q * k)):
        np.testing.assert_allclose(result[name], expected, atol=2e-5)
    assert result["dot"] == pytest.approx(q @ k, abs=2e-4)
    scores = np.array([-np.inf if s is None else s for s in result["scores"]])
    terms = [np.array([-np.inf if s is None else s for s in t]) for t in result["terms"].values()]
    np.testing.assert_allclose(scores, sum(terms), atol=1e-6)
    assert result["terms"]["content"][j] == pytest.approx(q @ k / np.sqrt(d), abs=1e-4)
    pattern = np.array(result["pattern"])
    if result["weighting"] == "softmax":
        weights = np.exp(scores) / np.exp(scores).sum()
    elif result["weighting"] == "hard":
        weights = np.eye(len(scores))[scores.argmax()]
    else:
        weights = np.where(np.isinf(scores), 0, scores)
    np.testing.assert_allclose(pattern, weights, atol=1e-5)
    assert result["weight"] == pattern[j]
    np.testing.assert_allclose(result["shares"][j], pattern[j] * v, atol=1e-4)
    np.testing.assert_allclose(result["z"], np.sum(result["shares"], axis=0), atol=1e-6)
    np.testing.assert_allclose(result["z_heads"][h], result["z"], atol=1e-4)
    output = np.concatenate(result["z_heads"]) @ attn.o.matrix() + attn.o.b
    np.testing.assert_allclose(result["output"], output, atol=1e-4)
    parts = [result[f"output_{part}"] for part in ("pair", "words", "heads")]
    np.testing.assert_allclose(np.sum([*parts, result["b_O"]], axis=0), output, atol=1e-4)
    assert i == result["queries"][i]["i"]


def test_explain_names_occurrence_and_head_that_it_chose(tiny_glove: Path, qkv: Qkv) -> None:
    result = qkv("explain", TEXT, "-m", tiny_glove, "--query", "the", "--key", "bank")
    assert "'the' occurs at 0, 4, 7: using --query" in result.stderr
    assert "has the largest weight for this pair among 4 heads" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--query", "rivr"], "Did you mean 'river'? Words: 0 the, 1 fisherman"),
        (["--query", "bank", "--head", "9"], "0 to 3"),
        (["--query", "bank", "-o", "x.csv"], ".txt, .svg, .pdf, .png, .html or .json."),
    ],
)
def test_explain_with_invalid_option_prints_one_line_error(
    tiny_glove: Path, qkv: Qkv, args: list[str], message: str
) -> None:
    result = qkv("explain", TEXT, "-m", tiny_glove, *args)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_explain_of_one_word_states_that_word_cannot_attend_to_itself(
    tiny_glove: Path, qkv: Qkv
) -> None:
    result = qkv("explain", "river", "-m", tiny_glove)
    assert result.code == 0
    assert "a word cannot attend to itself" in result.stdout


def test_explain_and_attend_print_no_trailing_spaces(tiny_glove: Path, qkv: Qkv) -> None:
    for command in (["explain", TEXT], ["attend", TEXT]):
        page = qkv(*command, "-m", tiny_glove).stdout
        assert not [line for line in page.splitlines() if line != line.rstrip()]


def test_explain_of_one_word_warns_that_all_weights_are_0(qkv, tiny_glove) -> None:
    result = qkv("explain", "bank", "-m", tiny_glove)
    assert result.code == 0
    assert result.stderr == "qkv: 'bank' has no other word to attend to: all its weights are 0.\n"


@pytest.mark.parametrize("command", ["grid", "heads"])
def test_grid_and_heads_of_one_word_warn_that_nothing_is_shown(qkv, tiny_glove, command) -> None:
    message = "qkv: Nothing to show: in this model, a text of one word"
    assert message in qkv(command, "bank", "-m", tiny_glove).stderr
    assert message not in qkv(command, "the bank", "-m", tiny_glove).stderr


@pytest.mark.parametrize(("width", "expected"), [(4, "█▄▁█"), (3, "█▄…")])
def test_sparkline_longer_than_width_ends_in_ellipsis(width: int, expected: str) -> None:
    line = sparkline([1.0, -0.1, -1.0, 1.0], Theme(), width)
    assert line.plain == expected
