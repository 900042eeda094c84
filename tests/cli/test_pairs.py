"""Two sentences in one row: `--pair`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from qkv_cli.session.load import load

Qkv = Callable[..., Result]
GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
PIECES = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "the", "river", "bank", "was", "muddy", "money"]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """The golden checkpoint with a tokenizer whose template has sentence pairs."""
    folder = tmp_path / "bert"
    shutil.copytree(GOLDEN / "bert", folder)
    result = Tokenizer(models.WordLevel({p: i for i, p in enumerate(PIECES)}, unk_token="[UNK]"))
    result.pre_tokenizer = pre_tokenizers.Whitespace()
    result.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    result.save(str(folder / "tokenizer.json"))
    return folder


def test_attend_with_pair_reads_both_sentences_as_one_sequence(bert: Path, qkv: Qkv) -> None:
    args = ["attend", "-m", bert, "the river bank", "--pair", "money was", "--json"]
    result = json.loads(qkv(*args).stdout)
    assert (result["text"], result["pair"]) == ("the river bank", "money was")
    assert [t["token"] for t in result["queries"]] == [
        *("[CLS]", "the", "river", "bank", "[SEP]"),
        *("money", "was", "[SEP]"),
    ]
    assert [t["segment"] for t in result["queries"]] == [0] * 5 + [1] * 3
    assert result["queries"][5]["start"] == 0  # of its own text
    loaded = load(bert)
    layers = [*loaded.model.layers([1, 4, 5, 6, 2, 9, 7, 2], types=[0] * 5 + [1] * 3)]
    assert layers[1].attn is not None
    np.testing.assert_allclose(result["maps"][0]["pattern"], layers[1].attn.pattern()[0], atol=1e-6)


def test_attend_picture_with_pair_marks_start_of_second_sentence(
    bert: Path, qkv: Qkv, tmp_path: Path
) -> None:
    args = ["attend", "-m", bert, "the river bank", "--pair", "money was muddy", "--head", "0"]
    picture = qkv(*args).stdout
    lines = picture.splitlines()
    assert "first text: the river bank" in lines
    assert "second text: money was muddy" in lines
    border = [line.split("│")[0].strip() for line in lines if "│" in line]
    assert [name for name in border if name] == ["money", "was", "muddy", "[SEP]"]
    rule = next(line for line in lines if "─" in line)
    names = next(line for line in lines if "money" in line and "│" not in line and ":" not in line)
    assert rule.index("─") == names.index("money")
    for path in (tmp_path / "maps.json", tmp_path / "maps.npz"):
        assert qkv(*args, "-o", path).code == 0
        assert qkv("render", path).stdout == picture
    words = qkv(*args, "--hide-special", "--words").stdout
    assert "bank" in words.split("second text")[1]  # the last word of the one, the first


def test_attend_with_pair_and_words_does_not_merge_across_sentences(bert: Path, qkv: Qkv) -> None:
    """[SEP] is hidden, so the two words are adjacent, but they belong to different sentences."""
    args = ["attend", "-m", bert, "was", "--pair", "the", "--hide-special", "--words", "--json"]
    assert [t["text"] for t in json.loads(qkv(*args).stdout)["queries"]] == ["was", "the"]


def test_explain_with_pair_gives_same_weight_as_attend(bert: Path, qkv: Qkv) -> None:
    args = ["explain", "-m", bert, "the river bank", "--pair", "money was", "--head", "L1H2"]
    result = json.loads(qkv(*args, "--query", "money", "--key", "river", "--json").stdout)
    assert (result["query"], result["key"], result["pair"]) == (5, 2, "money was")
    attended = json.loads(qkv("attend", *args[1:], "--json").stdout)
    assert result["weight"] == pytest.approx(attended["maps"][0]["pattern"][5][2], abs=1e-6)


def test_compare_with_pair_gives_difference_of_attend_patterns(
    bert: Path, qkv: Qkv, tmp_path: Path
) -> None:
    args = ["compare", "-m", bert, "the river bank", "L0H1", "L1H2", "--pair", "the river was"]
    [result] = json.loads(qkv(*args, "--json").stdout)["comparisons"]
    assert result["b"]["pair"] == "the river was"
    maps = np.array(
        json.loads(qkv("attend", *args[1:4], *args[6:], "--json", "-l", "all").stdout)["maps"]
    )
    first, second = (np.array(maps[i]["pattern"]) for i in (1, 6))
    np.testing.assert_allclose(result["difference"], second - first, atol=1e-5)
    path = tmp_path / "compared.json"
    assert qkv(*args, "-o", path).code == 0
    assert qkv("render", path).stdout == qkv(*args).stdout


def test_attend_with_unsupported_or_empty_pair_exits_2(bert: Path, qkv: Qkv) -> None:
    refused = qkv("attend", "the river", "--pair", "bank")
    assert (refused.code, "--pair does not apply to glove" in refused.stderr) == (2, True)
    refused = qkv("attend", "-m", bert, "the river", "--pair", "bank", "--source", "money")
    assert refused.code == 2
    empty = qkv("attend", "-m", bert, "the river", "--pair", "")
    assert (empty.code, "second sentence is empty" in empty.stderr) == (2, True)


def test_render_of_document_with_invalid_segment_names_field(
    bert: Path, qkv: Qkv, tmp_path: Path
) -> None:
    path = tmp_path / "maps.json"
    assert qkv("attend", "-m", bert, "the river", "--pair", "bank", "-o", path).code == 0
    document = json.loads(path.read_text())
    document["queries"][3]["segment"] = 2
    path.write_text(json.dumps(document))
    result = qkv("render", path)
    assert (result.code, "queries[3].segment is 2" in result.stderr) == (2, True)


def test_focus_with_pair_accepts_word_of_second_sentence(bert: Path, qkv: Qkv) -> None:
    args = ["focus", "-m", bert, "the river", "--pair", "money was"]
    result = json.loads(qkv(*args, "--query", "money", "--json").stdout)
    attended = json.loads(
        qkv("attend", "-m", bert, "the river", "--pair", "money was", "--json").stdout
    )
    at = [t["text"] for t in attended["queries"]].index("money")
    assert (result["i"], result["pair"]) == (at, "money was")
    assert result["heads"][0]["weights"] == attended["maps"][0]["pattern"][at]
    assert "[SEP] [money] was [SEP]" in qkv(*args, "--query", "money").stdout
    assert "the river [money] was" in qkv(*args, "--query", "money", "--hide-special").stdout


def test_grid_with_pair_writes_same_json_as_attend(bert: Path, qkv: Qkv) -> None:
    args = ["-m", bert, "the river", "--pair", "money was", "--layer", "all", "--json"]
    assert qkv("grid", *args).stdout == qkv("attend", *args).stdout
    assert "second text: money was" in qkv("grid", *args[:-1]).stdout


def test_focus_with_hide_special_keeps_token_indices_of_full_text(bert: Path, qkv: Qkv) -> None:
    args = ["focus", "-m", bert, "the river bank", "--hide-special", "--json"]
    for query in ("2", "river", "-2"):
        result = json.loads(qkv(*args, "--query", query).stdout)
        assert result["i"] == 2
        assert len(result["mean"]) == 3
    refused = qkv(*args, "--query", "0")
    assert (refused.code, "1 the, 2 river, 3 bank" in refused.stderr) == (2, True)
