"""`qkv compare` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import qkv_cli.export
from qkv_cli.export.document import SHOWN
from qkv_cli.store.folder import place_model

TEXT = "the mango and the apple are fruits that grow on a tree"
FOLDER = Path(qkv_cli.export.__file__).parent
VALID = {
    name: jsonschema.Draft202012Validator(
        json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    )
    for name in ("compare", "nearest")
}


@pytest.fixture
def compare(qkv: Callable, tiny_glove: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`qkv compare ARGS`, with the tiny model unless the arguments name another."""

    def run(*args, stdin=""):
        monkeypatch.setenv("QKV_MODEL", str(tiny_glove))
        return qkv("compare", *args, stdin=stdin)

    return run


@pytest.fixture
def other_model(tiny_glove: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model with another name and its heads in reverse order."""
    from safetensors.numpy import load_file, save_file

    with place_model(tmp_path / "other") as folder:
        for file in tiny_glove.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "config.json").read_text()) | {"name": "other"}
        (folder / "config.json").write_text(json.dumps(config))
        tensors = load_file(folder / "model.safetensors")
        for name in "qkv":
            for part in ("weight", "bias"):
                tensor = tensors[f"attn.{name}.{part}"]
                turned = tensor.reshape(4, -1, *tensor.shape[1:])[::-1].reshape(tensor.shape)
                tensors[f"attn.{name}.{part}"] = np.ascontiguousarray(turned)
        offsets = tensors["attn.offset_bias"]
        tensors["attn.offset_bias"] = np.ascontiguousarray(offsets[:, ::-1])
        save_file(tensors, folder / "model.safetensors")
    return tmp_path / "other"


def document(result, schema: str = "compare") -> dict:
    assert (result.code, result.stderr) == (0, "")
    outcome = json.loads(result.stdout)
    VALID[schema].validate(outcome)
    return outcome


def only(result) -> dict:
    [outcome] = document(result)["comparisons"]
    return outcome


def pattern(qkv: Callable, tiny: Path, text: str, head: int, *args: str) -> np.ndarray:
    """The pattern of a head as `qkv attend` writes it."""
    result = json.loads(qkv("attend", "-m", tiny, text, "--json", *args).stdout)
    return np.array(result["maps"][head]["pattern"])


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    m = (p + q) / 2
    return sum(
        x * np.log2(x / y) / 2 for row in (p, q) for x, y in zip(row, m, strict=True) if x > 0
    )


def test_compare_of_two_heads_draws_both_and_difference(compare) -> None:
    result = compare(TEXT, "L0H1", "L0H3")
    assert (result.code, result.stderr) == (0, "")
    for text in (
        "A L0H1",
        "B L0H3",
        "B - A",
        "Jensen-Shannon",
        "cosine",
        "Pearson",
        "learned in a",
    ):
        assert text in result.stdout
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_compare_json_figures_match_patterns(compare, qkv, tiny_glove) -> None:
    a, b = (pattern(qkv, tiny_glove, TEXT, head) for head in (1, 3))
    result = only(compare(TEXT, "L0H1", "L0H3", "--json"))
    bits = [divergence(p, q) for p, q in zip(a, b, strict=True)]
    assert [row["divergence"] for row in result["rows"]] == pytest.approx(bits, abs=1e-6)
    assert result["divergence"] == pytest.approx(np.mean(bits), abs=1e-6)
    off = ~np.eye(len(a), dtype=bool)  # a word cannot attend to itself
    x, y = a[off], b[off]
    assert result["cosine"] == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)), abs=1e-6)
    assert result["pearson"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-6)
    difference = np.array(result["difference"], dtype=float)
    assert np.isnan(difference.diagonal()).all()
    assert np.allclose(difference[off], (b - a)[off], atol=1e-7)
    first = result["moved"][0]
    assert abs(first["change"]) == pytest.approx(np.abs((b - a)[off]).max())
    assert first["change"] == pytest.approx((b - a)[first["row"], first["column"]])


def test_compare_of_head_with_itself_has_zero_divergence(compare) -> None:
    result = only(compare(TEXT, "L0H2", "L0H2", "--json", "--fail-above", "0"))
    assert (result["divergence"], result["cosine"], result["moved"]) == (0, 1, [])
    assert {row["divergence"] for row in result["rows"]} == {0}
    assert {x for row in result["difference"] for x in row} == {0, None}
    page = compare(TEXT, "L0H2", "L0H2").stdout
    assert "B - A" not in page and "largest differences" not in page


def test_compare_with_fail_above_exits_1_only_if_divergence_is_larger(compare) -> None:
    args = (TEXT, "L0H1", "L0H3")
    bits = only(compare(*args, "--json"))["divergence"]
    assert compare(*args, "--fail-above", bits).code == 0
    result = compare(*args, "--fail-above", bits - 1e-6)
    assert result.code == 1
    assert "Jensen-Shannon" in result.stdout  # the comparison is shown before the command fails
    assert result.stderr.startswith("qkv: The mean divergence is ")
    assert result.stderr.count("\n") == 1


def test_compare_of_three_heads_compares_first_with_others(compare) -> None:
    result = document(compare(TEXT, "L0H1", "L0H3", "L0H0", "--json"))["comparisons"]
    assert [(c["a"]["name"], c["b"]["name"]) for c in result] == [
        ("L0H1", "L0H3"),
        ("L0H1", "L0H0"),
    ]
    two = only(compare(TEXT, "L0H1", "L0H0", "--json"))
    assert result[1] == two
    assert "C L0H0" in compare(TEXT, "L0H1", "L0H3", "L0H0").stdout
    worst = max(c["divergence"] for c in result)
    assert compare(TEXT, "L0H1", "L0H3", "L0H0", "--fail-above", worst - 1e-6).code == 1


def test_compare_with_inserted_word_aligns_tokens(compare, qkv, tiny_glove) -> None:
    shorter, longer = "she sat on a tree", "she sat on a mango tree"
    result = only(compare(shorter, "--with", longer, "L0H2", "--json"))
    assert [row["text"] for row in result["rows"]] == shorter.split()
    assert [c["text"] for c in result["columns"]] == ["she", "sat", "on", "a", "+mango", "tree"]
    assert [(row["a"], row["b"]) for row in result["rows"]][-1] == (4, 5)
    a = pattern(qkv, tiny_glove, shorter, 2)
    b = pattern(qkv, tiny_glove, longer, 2)
    wide = np.insert(a, 4, 0, axis=1)
    rows = [0, 1, 2, 3, 5]
    bits = [divergence(p, b[i]) for p, i in zip(wide, rows, strict=True)]
    assert [row["divergence"] for row in result["rows"]] == pytest.approx(bits, abs=1e-6)
    assert [row[4] for row in result["pattern_a"]] == [None] * 5
    page = compare(shorter, "--with", longer, "L0H2").stdout
    for text in (
        "A: she sat on a tree",
        "B: she sat on a mango tree",
        "+ marks a word that only B",
    ):
        assert text in page
    assert "- marks" not in page
    assert "is empty" not in page


def test_compare_of_two_models_compares_heads_of_each(compare, other_model, tiny_glove) -> None:
    """Head L0H0 of one model is L0H3 of the other."""
    same_heads = only(compare(TEXT, "-m", tiny_glove, "-m", other_model, "L0H0", "L0H3", "--json"))
    assert (same_heads["a"]["model"]["name"], same_heads["b"]["model"]["name"]) == ("tiny", "other")
    assert same_heads["divergence"] == pytest.approx(0, abs=1e-9)
    assert (
        only(compare(TEXT, "-m", tiny_glove, "-m", other_model, "L0H0", "--json"))["divergence"]
        > 0.01
    )


def test_compare_of_two_weightings_gives_their_divergence(compare, qkv, tiny_glove) -> None:
    soft, hard = (
        pattern(qkv, tiny_glove, TEXT, 1, "--weighting", name) for name in ("softmax", "hard")
    )
    args = ("--weighting", "softmax", "--weighting", "hard")
    result = only(compare(TEXT, "L0H1", *args, "--json"))
    bits = [divergence(p, q) for p, q in zip(soft, hard, strict=True)]
    assert result["divergence"] == pytest.approx(np.mean(bits), abs=1e-6)
    assert "weighting hard" in compare(TEXT, "L0H1", *args).stdout


def test_compare_with_linear_weights_has_undefined_divergence(compare) -> None:
    args = (TEXT, "L0H1", "--weighting", "softmax", "--weighting", "linear")
    result = only(compare(*args, "--json"))
    assert result["divergence"] is None and {r["divergence"] for r in result["rows"]} == {None}
    assert -1 <= result["pearson"] <= 1
    assert "Jensen-Shannon divergence undefined" in compare(*args).stdout
    assert compare(*args, "--fail-above", "1").code == 2


def test_compare_with_layer_name_uses_mean_of_its_heads(compare, qkv, tiny_glove) -> None:
    mean = np.mean([pattern(qkv, tiny_glove, TEXT, head) for head in range(4)], axis=0)
    head_pattern = pattern(qkv, tiny_glove, TEXT, 1)
    for name in ("L0", "L0H*", "l0", "L-1"):
        result = only(compare(TEXT, "L0H1", name, "--json"))
        assert (result["b"]["name"], result["b"]["head"]) == ("L0 mean of 4", None)
        difference = np.array(result["difference"], dtype=float)
        off = ~np.eye(len(head_pattern), dtype=bool)
        assert np.allclose(difference[off], (mean - head_pattern)[off], atol=1e-6)


def test_compare_without_head_uses_mean_of_last_layer(compare) -> None:
    result = only(compare("the river bank", "--with", "the river tree", "--json"))
    assert result["a"]["name"] == result["b"]["name"] == "L0 mean of 4"
    assert [row["text"] for row in result["rows"]] == ["the", "river", "bank/tree"]


def test_compare_of_files_and_texts_keeps_argument_order(
    compare, qkv, tiny_glove, tmp_path
) -> None:
    qkv("attend", "-m", tiny_glove, TEXT, "-o", tmp_path / "a.json")
    qkv("attend", "-m", tiny_glove, TEXT, "--weighting", "hard", "-o", tmp_path / "b.npz")
    live = only(compare(TEXT, "L0H1", "--weighting", "softmax", "--weighting", "hard", "--json"))
    result = only(compare(tmp_path / "a.json", tmp_path / "b.npz", "L0H1", "--json"))
    assert (result["a"]["weighting"], result["b"]["weighting"]) == ("softmax", "hard")
    assert result["divergence"] == pytest.approx(live["divergence"], abs=1e-6)
    mixed = only(compare(tmp_path / "b.npz", TEXT, "L0H1", "--json"))
    assert (mixed["a"]["weighting"], mixed["b"]["weighting"]) == ("hard", "softmax")
    unchanged = compare(tmp_path / "a.json", TEXT, "L0H3", "--fail-above", "1e-9")
    assert unchanged.code == 0
    mean = only(compare(tmp_path / "a.json", TEXT, "--json"))
    assert mean["a"]["name"] == mean["b"]["name"] == "L0 mean of 4"
    assert mean["divergence"] == pytest.approx(0, abs=1e-9)


def test_compare_of_heads_of_one_file_equals_comparison_by_model(
    compare, qkv, tiny_glove, tmp_path
) -> None:
    qkv("attend", "-m", tiny_glove, TEXT, "-o", tmp_path / "a.json")
    result = only(compare(tmp_path / "a.json", "L0H1", "L0H3", "--json"))
    assert result["divergence"] == pytest.approx(
        only(compare(TEXT, "L0H1", "L0H3", "--json"))["divergence"], abs=1e-6
    )


def test_compare_with_window_keeps_rows_of_window(compare) -> None:
    result = only(compare(TEXT, "L0H1", "L0H3", "--window", "2:5", "--json"))
    assert [row["text"] for row in result["rows"]] == ["and", "the", "apple"]


def test_compare_with_source_compares_cross_attention(compare) -> None:
    result = only(compare("the river bank", "--source", "a tree", "L0H1", "L0H3", "--json"))
    assert [c["text"] for c in result["columns"]] == ["a", "tree"]
    assert result["a"]["block"] == "cross"


def test_compare_reads_text_from_standard_input(compare) -> None:
    piped = only(compare("-", "L0H1", "L0H3", "--json", stdin="the river bank"))
    assert piped == only(compare("the river bank", "L0H1", "L0H3", "--json"))
    assert piped == only(compare("L0H1", "L0H3", "--json", stdin="the river bank"))


def test_compare_nearest_ranks_heads_by_divergence(compare) -> None:
    result = document(compare(TEXT, "--nearest", "L0H1", "--json"), "nearest")
    assert result["head"]["name"] == "L0H1"
    bits = [near["divergence"] for near in result["nearest"]]
    assert bits == sorted(bits)
    assert {near["name"] for near in result["nearest"]} == {"L0H0", "L0H2", "L0H3"}
    for near in result["nearest"]:
        compared = only(compare(TEXT, "L0H1", near["name"], "--json"))
        for figure in ("divergence", "cosine", "pearson"):
            assert near[figure] == compared[figure]
    assert len(document(compare(TEXT, "--nearest", "L0H1", "--top", 2, "--json"), "nearest")[
        "nearest"
    ]) == 2  # fmt: skip


def test_compare_nearest_in_other_model_finds_same_head(compare, other_model, tiny_glove) -> None:
    args = (TEXT, "--nearest", "L0H0", "-m", tiny_glove, "-m", other_model)
    result = document(compare(*args, "--json"), "nearest")
    assert result["nearest"][0]["name"] == "L0H3"
    assert result["nearest"][0]["divergence"] == pytest.approx(0, abs=1e-9)
    assert len(result["nearest"]) == 4
    page = compare(*args).stdout
    assert "nearest to  L0H0" in page and "among the heads of other" in page


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([TEXT, "L0H1"], "Nothing to compare with: add a head"),
        ([TEXT, "more text", "L0H1"], "give a second one with --with TEXT"),
        ([TEXT, "L0H1", "L0H9"], "Head 9 does not exist: this model has heads 0 to 3."),
        ([TEXT, "L0H1", "L3"], "Layer 3 does not exist"),
        ([TEXT, "L0H1", "L0H2", "--with", "a", "--with", "b"], "Cannot pair 2 heads with 3 texts"),
        (
            [TEXT, "L0H1", "--weighting", "soft"],
            "Unknown weighting 'soft': use softmax, hard or linear.",
        ),
        (["the bank", "--with", "a mango tree", "L0H1"], "no word in common"),
        ([TEXT, "L0H1", "L0H2", "-o", "x.csv"], "This command cannot write .csv files"),
        ([TEXT, "--nearest", "3"], "'3' is not a head name; write L0H3"),
        ([TEXT, "L0H2", "--nearest", "L0H1"], "--nearest compares one head"),
        ([TEXT, "--nearest", "L0H1", "--fail-above", "1"], "Use either --fail-above or --nearest"),
        (["a.json", "b.json", "-m", "glove"], "-m and --weighting do not apply"),
        ([TEXT, *["L0H0"] * 27], "Cannot compare 27 maps: the maximum is"),
    ],
)
def test_compare_with_invalid_arguments_prints_one_line_error(compare, args, message) -> None:
    result = compare(*args)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_compare_with_unreadable_file_names_it(compare, qkv, tiny_glove, tmp_path) -> None:
    result = compare("no.json", "L0H1", "L0H2")
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr == "qkv: Could not read no.json: No such file or directory.\n"
    (tmp_path / "broken.json").write_text("{")
    assert "broken.json: not valid JSON" in compare(tmp_path / "broken.json", "L0", "L0H1").stderr
    lines = tmp_path / "two.jsonl"
    qkv("attend", "-m", tiny_glove, "--lines", "-o", lines, stdin="the bank\nthe tree\n")
    assert "two.jsonl contains 2 texts" in compare(lines, "L0H1", "L0H2").stderr


def test_compare_output_writes_json_and_txt_files(compare, tmp_path) -> None:
    compare(TEXT, "L0H1", "L0H3", "-o", tmp_path / "c.json")
    VALID["compare"].validate(json.loads((tmp_path / "c.json").read_text()))
    compare(TEXT, "L0H1", "L0H3", "-o", tmp_path / "c.txt")
    assert "B - A" in (tmp_path / "c.txt").read_text()


@pytest.mark.parametrize("show", ["scores", "contributions", "rollout"])
def test_compare_show_compares_shown_quantity(qkv, tiny_glove, show: str) -> None:
    heads = ("L0", "L0") if show == "rollout" else ("L0H1", "L0H3")
    args = ("compare", "-m", tiny_glove, "she sat on the bank", *heads, "--show", show)
    field = {"scores": "scores", "contributions": "norms", "rollout": "rollout"}[show]
    picture, result = qkv(*args), qkv(*args, "--json")
    assert (picture.code, result.code) == (0, 0), picture.stderr
    assert f" {show}: " in picture.stdout
    document = json.loads(result.stdout)
    VALID["compare"].validate(document)
    [c] = document["comparisons"]
    assert c["a"]["shown"] == c["b"]["shown"] == SHOWN[show]
    attended = qkv("attend", "-m", tiny_glove, "she sat on the bank", "--show", show, "--json")
    m = json.loads(attended.stdout)["maps"][0 if show == "rollout" else 1]
    amounts = [[x or 0 for x in row] for row in m[field]]
    assert np.allclose(
        [[x or 0 for x in row] for row in c[f"{field}_a"]], amounts, rtol=1e-6, atol=0
    )
    assert (c["divergence"] is None) == (show == "scores")
    assert qkv("render", "-", stdin=result.stdout).stdout == picture.stdout
    mislabelled = result.stdout.replace(f'"shown":"{SHOWN[show]}"', '"shown":"weights"')
    refused = qkv("render", "-", stdin=mislabelled)
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert 'and "pattern_a".' in refused.stderr


def test_compare_of_files_with_different_quantities_is_refused(qkv, tiny_glove, tmp_path) -> None:
    text = "she sat on the bank"
    for show in ("weights", "contributions"):
        qkv("attend", "-m", tiny_glove, text, "--show", show, "-o", tmp_path / f"{show}.json")
    files = (tmp_path / "weights.json", tmp_path / "contributions.json")
    result = qkv("compare", *files, "L0H1")
    assert (result.code, result.stdout) == (2, "")
    assert (
        "Cannot compare weights with contributions: choose one of them with --show."
        in result.stderr
    )
    assert qkv("compare", *files, "L0H1", "--show", "weights", "--fail-above", "0").code == 0
