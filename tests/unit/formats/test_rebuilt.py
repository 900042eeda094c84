"""Tokenizers built from vocabularies, beside transformers'; see tests/golden/tokenizers/make.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qkv_cli.formats.pieces import PieceTokenizer
from qkv_cli.formats.translators import open_tokenizers

GOLDEN = Path(__file__).parents[2] / "golden" / "tokenizers"
FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/expected.json"))


def made(name: str) -> tuple[dict[str, list[object]], list[str], list[list[str]]]:
    namespace: dict[str, object] = {}
    source = (GOLDEN / "make.py").read_text(encoding="utf-8")
    start, stop = source.index("TEXTS = ["), source.index("def corpus")
    exec(source[start:stop], namespace)
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    return expected, namespace["TEXTS"], namespace["PAIRS"]  # type: ignore[return-value]


@pytest.mark.parametrize("name", FAMILIES)
def test_as_transformers_splits(name: str) -> None:
    expected, texts, pairs = made(name)
    kind = json.loads((GOLDEN / name / "config.json").read_text())["model_type"]
    tokenizer = PieceTokenizer.open(GOLDEN / name, kind)
    if kind == "mbart":  # whose special tokens name a language
        source, _ = open_tokenizers(GOLDEN / name, kind)
        assert [[t.id for t in source.encode(text)] for text in texts] == expected["texts"]
        return
    for text, ids in zip(texts, expected["texts"], strict=True):
        found = tokenizer.encode(text)
        assert [t.id for t in found] == ids, text
        for token in found:
            assert text[token.start : token.end] == token.text
    for (first, second), (ids, types) in zip(pairs, expected["pairs"], strict=True):
        tokens, found_types = tokenizer.encode_pair(first, second)
        assert [t.id for t in tokens] == ids
        if types is not None:
            assert found_types == types
