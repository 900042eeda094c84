"""Tokenizers built from vocabularies, against transformers; see tests/golden/tokenizers/make.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.tokenizers.pieces import PieceTokenizer
from qkv_cli.formats.tokenizers.transformers import class_of
from qkv_cli.formats.tokenizers.translators import open_tokenizers

GOLDEN = Path(__file__).parents[2] / "golden" / "tokenizers"
REBUILT = json.loads((GOLDEN / "rebuilt" / "cases.json").read_text(encoding="utf-8"))
FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/expected.json"))


def read_golden(name: str) -> tuple[dict[str, list[object]], list[str], list[list[str]]]:
    namespace: dict[str, object] = {}
    source = (GOLDEN / "make.py").read_text(encoding="utf-8")
    start, stop = source.index("TEXTS = ["), source.index("def corpus")
    exec(source[start:stop], namespace)
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    return expected, namespace["TEXTS"], namespace["PAIRS"]  # type: ignore[return-value]


@pytest.mark.parametrize("name", FAMILIES)
def test_piece_tokenizer_gives_same_ids_as_transformers(name: str) -> None:
    expected, texts, pairs = read_golden(name)
    kind = json.loads((GOLDEN / name / "config.json").read_text())["model_type"]
    tokenizer = PieceTokenizer.open(GOLDEN / name, kind)
    if kind == "mbart":  # whose special tokens name a language
        source, _ = open_tokenizers(GOLDEN / name, kind)
        assert [[t.id for t in source.encode(text)] for text in texts] == expected["texts"]
        return
    for text, ids in zip(texts, expected["texts"], strict=True):
        result = tokenizer.encode(text)
        assert [t.id for t in result] == ids, text
        for token in result:
            assert text[token.start : token.end] == token.text
    for (first, second), (ids, types) in zip(pairs, expected["pairs"], strict=True):
        tokens, found_types = tokenizer.encode_pair(first, second)
        assert [t.id for t in tokens] == ids
        if types is not None:
            assert found_types == types


def placed(folder: Path, case: dict[str, Any]) -> Path:
    """A folder with a tokenizer.json and the settings of a case."""
    document = json.loads((GOLDEN / "rebuilt" / f"{case['base']}.json").read_text("utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(document | case["changes"]))
    (folder / "tokenizer_config.json").write_text(json.dumps(case["settings"]))
    (folder / "config.json").write_text(json.dumps({"model_type": case["kind"]} | case["config"]))
    return folder


@pytest.mark.parametrize(
    "case",
    REBUILT["cases"],
    ids=lambda case: f"{case['base']}-{case['kind']}-{case['settings'].get('tokenizer_class')}",
)
def test_piece_tokenizer_follows_tokenizer_class_of_folder(
    tmp_path: Path, case: dict[str, Any]
) -> None:
    folder = placed(tmp_path, case)
    assert class_of(folder, case["kind"]) == case["class"]
    tokenizer = PieceTokenizer.open(folder, case["kind"])
    for text, ids in zip(REBUILT["texts"], case["ids"], strict=True):
        tokens = tokenizer.encode(text)
        assert [token.id for token in tokens] == ids, text
        assert all(text[token.start : token.end] == token.text for token in tokens)


def refused(folder: Path, base: str, kind: str, settings: dict[str, Any]) -> str:
    case = {"base": base, "kind": kind, "changes": {}, "settings": settings, "config": {}}
    with pytest.raises(CheckpointError) as refusal:
        PieceTokenizer.open(placed(folder, case), kind)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_piece_tokenizer_of_unimplemented_class_names_class(tmp_path: Path) -> None:
    message = refused(tmp_path, "bert", "bert", {"tokenizer_class": "BertJapaneseTokenizer"})
    assert "uses BertJapaneseTokenizer, which is not implemented" in message
    message = refused(tmp_path, "gpt2", "llama", {"tokenizer_class": "CohereTokenizerFast"})
    assert "CohereTokenizer" in message


def test_piece_tokenizer_with_vocabulary_of_other_kind_raises_checkpoint_error(
    tmp_path: Path,
) -> None:
    message = refused(tmp_path, "bert", "roberta", {})
    assert "has a WordPiece vocabulary, but RobertaTokenizer needs BPE" in message
    message = refused(tmp_path, "mt5", "llama", {"tokenizer_class": "LlamaTokenizer"})
    assert "has a Unigram vocabulary, but LlamaTokenizer needs BPE" in message
    message = refused(tmp_path, "xlm-roberta", "mbart", {"tokenizer_class": "MBart50Tokenizer"})
    assert "the vocabulary has no mBART-50 language code" in message


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            "mistral",
            {"fix_mistral_regex": True},
            "sets fix_mistral_regex, which is not implemented",
        ),
        ("gpt2", {"fast_tokenizer_files": ["tokenizer.4.0.json"]}, "fast_tokenizer_files"),
        ("gpt2", {"added_tokens_decoder": {"7000": {"content": "<x>"}}}, "'<x>' must have id 7000"),
        (
            "gpt2",
            {"added_tokens_decoder": {"x": {"content": "<x>"}}},
            "added_tokens_decoder must be a token id",
        ),
        ("gpt2", {"added_tokens_decoder": [1]}, "added_tokens_decoder must be"),
        ("gpt2", {"extra_special_tokens": "<x>"}, "extra_special_tokens an array"),
        ("bert", {"unk_token": None}, "has no unk_token"),
    ],
    ids=range(7),
)
def test_piece_tokenizer_with_unsupported_setting_names_it(
    tmp_path: Path, kind: str, settings: dict[str, Any], message: str
) -> None:
    base = kind if kind == "bert" else "gpt2"
    assert message in refused(tmp_path, base, kind, settings)


def test_piece_tokenizer_of_word_level_model_keeps_whole_words(tmp_path: Path) -> None:
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "The": 1}, "unk_token": "[UNK]"}
    case = {"base": "bert", "kind": "bert", "settings": {}, "config": {}}
    changes = {"model": model, "normalizer": None, "post_processor": None, "added_tokens": []}
    folder = placed(tmp_path, case | {"changes": changes})
    tokens = PieceTokenizer.open(folder, "bert").encode("The the")
    assert [(token.id, token.unknown) for token in tokens] == [(1, False), (0, True)]
