"""`qkv heads` as a user runs it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

import qkv_cli.export
from qkv_cli.analysis.study import FIGURES, HEADINGS
from qkv_cli.cli import heads as command
from qkv_cli.core.block import Block
from qkv_cli.core.model import Stack
from qkv_cli.formats.tokenizers.pieces import PieceTokenizer
from qkv_cli.maps.compute import OrderedReader
from qkv_cli.render.terminal.heads import COLUMNS
from qkv_cli.session.load import load
from qkv_cli.session.run import LoadedModel, Reading, Tokenized

TEXT = "the mango and the apple are fruits that grow on a tree"
SCHEMA = json.loads(
    (Path(qkv_cli.export.__file__).parent / "heads.schema.json").read_text(encoding="utf-8")
)
VALID = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture
def heads(qkv: Callable, tiny_glove: Path) -> Callable:
    """`qkv heads -m TINY ARGS`."""
    return lambda *args, stdin="": qkv("heads", "-m", tiny_glove, *args, stdin=stdin)


def document(result) -> dict:
    assert (result.code, result.stderr) == (0, "")
    outcome = json.loads(result.stdout)
    VALID.validate(outcome)
    return outcome


def test_heads_prints_one_line_per_head(heads) -> None:
    result = heads(TEXT)
    assert (result.code, result.stderr) == (0, "")
    for text in ("tiny", "learned in a test", "1 text · 12 tokens", "L0H0", "L0H3", "prev"):
        assert text in result.stdout
    assert "self" not in result.stdout  # a word cannot attend to itself, so no weight is measured
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_heads_json_statistics_match_patterns_of_attend(heads, qkv, tiny_glove) -> None:
    attended = json.loads(qkv("attend", "-m", tiny_glove, TEXT, "--json").stdout)
    result = document(heads(TEXT, "--json"))
    for of_head, m in zip(result["heads"], attended["maps"], strict=True):
        w = np.array(m["pattern"])
        n = len(w)
        bits = [-sum(x * np.log2(x) for x in row if x) for row in w]
        assert of_head["name"] == m["name"]
        assert of_head["entropy"] == pytest.approx(np.mean(bits), rel=1e-5)
        assert of_head["entropy_share"] == pytest.approx(np.mean(bits) / np.log2(n - 1), rel=1e-5)
        far = sum(w[i, j] * abs(i - j) for i in range(n) for j in range(n)) / n
        assert of_head["distance"] == pytest.approx(far, rel=1e-5)
        previous = np.mean([w[i, i - 1] for i in range(1, n)])
        assert of_head["previous"] == pytest.approx(previous, rel=1e-5)
        assert of_head["next"] == pytest.approx(np.diagonal(w, 1).mean(), rel=1e-5)
        assert of_head["first"] == pytest.approx(w[1:, 0].mean(), rel=1e-5)
        assert of_head["self"] is of_head["separators"] is of_head["punctuation"] is None


def test_heads_of_several_texts_averages_over_rows(heads, tmp_path) -> None:
    """The average is over rows, so a longer text has a larger share."""
    texts = ["the river bank , the bank", "she sat in a tree . the fruits"]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    together = document(heads("--file", tmp_path / "texts.txt", "--lines", "--json"))
    assert (together["texts"], together["tokens"], together["shuffled"]) == (2, 6 + 8, 24)
    first, second = (document(heads(text, "--json")) for text in texts)
    for at in range(4):
        mean = (6 * first["heads"][at]["entropy"] + 8 * second["heads"][at]["entropy"]) / 14
        assert together["heads"][at]["entropy"] == pytest.approx(mean)


def test_heads_json_is_deterministic(heads) -> None:
    assert heads(TEXT, "--json").stdout == heads(TEXT, "--json").stdout


def test_heads_csv_has_one_row_per_head(heads, tmp_path) -> None:
    result = heads(TEXT, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(result)))
    as_json = document(heads(TEXT, "--json"))["heads"]
    assert [row["name"] for row in rows] == ["L0H0", "L0H1", "L0H2", "L0H3"]
    for row, of_head in zip(rows, as_json, strict=True):
        assert set(FIGURES) < set(row)
        assert row["self"] == ""
        assert float(row["previous"]) == pytest.approx(of_head["previous"], rel=1e-5)
        assert row["labels"].split() == of_head["labels"]
    heads(TEXT, "-o", tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == result


@pytest.mark.parametrize("figure", ["next", "entropy", "position"])
def test_heads_sort_orders_by_descending_value(heads, figure) -> None:
    result = [h[figure] for h in document(heads(TEXT, "--sort", figure, "--json"))["heads"]]
    assert result == sorted(result, reverse=True)
    assert len(set(result)) == 4


def test_heads_sort_accepts_column_heading(heads) -> None:
    assert heads(TEXT, "--sort", "prev") == heads(TEXT, "--sort", "previous")
    assert {column.title for column in COLUMNS} - set(HEADINGS) == {"self", "next"}
    assert all(HEADINGS.get(c.title, c.title) == c.name for c in COLUMNS)


def test_heads_sort_by_column_without_values_keeps_order(heads) -> None:
    result = document(heads(TEXT, "--sort", "separators", "--json"))["heads"]
    assert [h["name"] for h in result] == ["L0H0", "L0H1", "L0H2", "L0H3"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--sort", "prevous"], "Unknown column 'prevous'. Did you mean previous?"),
        (["--weighting", "linear"], "its statistics need weights that sum to 1"),
        (
            ["-o", "table.npz"],
            "This command cannot write .npz files: use .txt, .svg, .pdf, .png, .html, .json or "
            ".csv.",
        ),
        (["--format", "jsonl"], "--format jsonl does not apply to this command"),
        (["--layer", "1"], "Layer 1 does not exist: this model has only layer 0."),
        (["--head", "L0H9"], "Head 9 does not exist"),
    ],
)
def test_heads_with_invalid_option_prints_one_line_error(heads, args, message) -> None:
    result = heads(TEXT, *args)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_heads_with_head_option_lists_selected_heads_in_given_order(heads) -> None:
    result = document(heads(TEXT, "--head", "L0H2", "--head", "0", "--json"))["heads"]
    assert [h["name"] for h in result] == ["L0H2", "L0H0"]


def test_heads_with_zero_shuffles_has_no_labels_or_evidence(heads) -> None:
    result = document(heads(TEXT, "--shuffles", "0", "--json"))
    assert result["shuffled"] == 0
    for of_head in result["heads"]:
        assert of_head["labels"] == [] and of_head["evidence"] == {}
        assert of_head["position"] is of_head["content"] is of_head["duplicate"] is None
    assert "label" not in heads(TEXT, "--shuffles", "0").stdout


@pytest.mark.parametrize("seed", range(20))
def test_heads_with_random_heads_has_no_labels(qkv, seed) -> None:
    result = document(qkv("heads", "-m", "glove", TEXT, "--random-heads", seed, "--json"))
    assert [h["labels"] for h in result["heads"]] == [[]] * len(result["heads"])
    assert "untrained" in result["model"]["origin"]


def test_heads_of_lines_reports_each_unknown_word_once(heads) -> None:
    result = heads("--lines", stdin="zzyx the river\nzzyx bank\n")
    assert result.code == 0
    assert result.stderr == "qkv: 1 word is unknown to tiny: zzyx.\n"


def test_heads_of_lines_reports_progress_after_each_text(heads, monkeypatch) -> None:
    reports: list[str] = []
    monkeypatch.setattr(command, "report_summary", reports.append)
    result = heads("--lines", stdin="the river\nthe bank\nthe money\n")
    assert [line.split(",")[0] for line in reports] == [
        "1 text read",
        "2 texts read",
        "3 texts read",
    ]
    assert all(line.endswith(" tokens/s") for line in reports)
    assert "3 texts" in result.stdout


def test_heads_with_source_has_no_position_statistics(heads) -> None:
    result = document(heads("the river bank", "--source", "a tree , on the bank", "--json"))
    assert result["source"] == "a tree , on the bank"
    for of_head in result["heads"]:
        assert of_head["block"] == "cross"
        assert of_head["previous"] is of_head["distance"] is of_head["duplicate"] is None
        assert of_head["punctuation"] is not None
        assert of_head["content"] == pytest.approx(1.0)  # there are no position terms
    assert (
        "keys and values from: a tree , on the bank"
        in heads("the river bank", "--source", "a tree , on the bank").stdout
    )


def test_heads_of_one_word_has_null_statistics(heads) -> None:
    """A repeated single word has only one key, the word itself."""
    for of_head in document(heads("river", "--json"))["heads"]:
        assert all(of_head[figure] is None for figure in FIGURES)
        assert of_head["labels"] == []
    assert heads("river").code == 0


def two_layers(folder: Path) -> LoadedModel:
    """The tiny model with its one layer twice."""
    loaded = load(folder)
    [(name, stack)] = loaded.model.stacks.items()
    [block] = stack.blocks
    blocks = [block, Block(attn=block.attn)]
    model = replace(loaded.model, stacks={name: Stack(blocks, offsets=stack.offsets)})
    return replace(loaded, model=model, info=replace(loaded.info, n_layers=2))


def test_ordered_reader_yields_selected_heads_of_each_layer(tiny_glove) -> None:
    loaded = two_layers(tiny_glove)
    reader = OrderedReader(loaded, Reading(), [], ["L0H1", "L1H3", "L1H0"])
    layers = list(reader(TEXT, "as written"))
    assert [[m.name for m in maps.maps] for maps in layers] == [["L0H1"], ["L1H3", "L1H0"]]
    expected = [layer.attn.pattern() for layer in loaded.read(TEXT).layers]
    assert np.array_equal(layers[1].maps[0].pattern, expected[1][3])
    assert [t.text for t in layers[0].queries] == TEXT.split()
    only_first = OrderedReader(loaded, Reading(), [], ["L0H1"])
    assert len(list(only_first(TEXT, "shuffled"))) == 1


def test_tokenized_reordered_reverses_source_and_shifted_target(tiny_glove) -> None:
    """The shuffled text follows the start token, each token with its index in the text."""
    inner = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "a": 2, "b": 3, "c": 4}, unk_token="<pad>"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    pieces = PieceTokenizer(inner, None)
    loaded = load(tiny_glove)
    decoder = Stack([Block(attn=loaded.model.stacks["encoder"].blocks[0].attn)], causal=True)
    model = replace(loaded.model, stacks={"decoder": decoder})
    loaded = replace(loaded, model=model, tokenizer=pieces, target=pieces, start=0)
    source, text = (pieces.encode(words) for words in ("a b", "a b c"))
    tokens = Tokenized(text="a b c", source="a b", block="cross", first=source, second=text)
    backwards = tokens.reordered(lambda tokens: [*tokens[-2::-1], tokens[-1]])
    assert [t.token for t in backwards.first] == ["b", "a", "</s>"]
    assert [t.token for t in backwards.second] == ["c", "b", "a", "</s>"]
    rows, decoder_ids = loaded._shifted(backwards.second, loaded.start)
    assert [(t.token, t.i) for t in rows] == [("<pad>", 0), ("c", 3), ("b", 2), ("a", 1)]
    assert decoder_ids == [0, 4, 3, 2]


def test_heads_of_encoder_decoder_without_source_describes_encoder(tmp_path, qkv) -> None:
    """Without a source, the encoder's text is shuffled; a grid keeps the text as written."""
    folder = tmp_path / "t5"
    shutil.copytree(Path(__file__).parents[1] / "golden/checkpoints/t5-writes", folder)
    words = ["<pad>", "</s>", "[UNK]", *"abcdefghij", *(f"w{i}" for i in range(51))]
    inner = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    inner.save(str(folder / "tokenizer.json"))
    result = json.loads(qkv("heads", "-m", folder, "a b c d e f g", "--json").stdout)
    assert {row["block"] for row in result["heads"]} == {"encoder"}
    refused = qkv("heads", "-m", folder, "a b c d", "--block", "cross")
    assert (refused.code, "--block cross needs --source TEXT here" in refused.stderr) == (2, True)
    picture = qkv("grid", "-m", folder, "a b c d e f g")
    assert "keys and values: a b c d e f g" in picture.stdout
