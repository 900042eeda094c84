"""The tokenizer inside a GGUF file, against what sentencepiece itself makes of the same pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.tokenizers.gguf import build_tokenizer

GOLDEN = Path(__file__).parents[2] / "golden" / "gguf" / "pieces.json"
MODELS = json.loads(GOLDEN.read_text())


def fields_of(model: dict[str, Any]) -> dict[str, Any]:
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": model["pieces"],
        "tokenizer.ggml.scores": model["scores"],
        "tokenizer.ggml.token_type": model["kinds"],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_space_prefix": model["add_space_prefix"],
    }


@pytest.mark.parametrize("model", MODELS, ids=["prefix", "no prefix"])
@pytest.mark.parametrize("is_ordered", [False, True])
def test_build_tokenizer_of_llama_pieces_gives_same_ids_as_sentencepiece(
    model: dict[str, Any], is_ordered: bool
) -> None:
    tokenizer = build_tokenizer(fields_of(model), is_ordered=is_ordered)
    for text, ids in model["texts"].items():
        assert tokenizer.encode(text).ids == ids


def test_build_tokenizer_merges_by_score_unless_pieces_are_ordered() -> None:
    fields = fields_of(MODELS[1]) | {
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "a", "b", "c", "ab", "bc"],
        "tokenizer.ggml.scores": [0, 0, 0, -9, -9, -9, -2, -1],
        "tokenizer.ggml.token_type": [2, 3, 3, 1, 1, 1, 1, 1],
    }
    assert build_tokenizer(fields, is_ordered=False).encode("abc").tokens == ["<s>", "a", "bc"]
    assert build_tokenizer(fields, is_ordered=True).encode("abc").tokens == ["<s>", "ab", "c"]


def test_build_tokenizer_recognises_control_and_user_defined_pieces() -> None:
    model = MODELS[0]
    fields = fields_of(model) | {
        "tokenizer.ggml.tokens": [*model["pieces"], "<turn>", "   "],
        "tokenizer.ggml.scores": [*model["scores"], 0.0, -1000.0],
        "tokenizer.ggml.token_type": [*model["kinds"], 4, 4],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": True,
    }
    result = build_tokenizer(fields, is_ordered=False).encode("<turn>the<s>")
    assert result.tokens == ["<turn>", "\u2581the", "<s>", "</s>"]
    assert result.special_tokens_mask == [0, 0, 0, 1]


def test_build_tokenizer_of_unimplemented_kind_names_it() -> None:
    fields = fields_of(MODELS[0])
    with pytest.raises(
        CheckpointError, match="'bert', which is not implemented; implemented: gpt2, llama"
    ):
        build_tokenizer(fields | {"tokenizer.ggml.model": "bert"}, is_ordered=False)
    wrong = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "tekken"}
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.pre is 'tekken'"):
        build_tokenizer(fields | wrong, is_ordered=False)


def byte_pairs(cut: str, **fields: Any) -> dict[str, Any]:
    """Pieces of which `abc` is one that no merge makes; llama.cpp takes it for llama-bpe."""
    pieces = ["a", "b", "c", "bc", "abc", "\u0120", "<s>", "</s>", "1", "12", "2"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": cut,
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": [1, 1, 1, 1, 1, 1, 3, 3, 1, 1, 1],
        "tokenizer.ggml.merges": ["b c", "1 2"],
        "tokenizer.ggml.bos_token_id": 6,
        "tokenizer.ggml.eos_token_id": 7,
    } | {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


@pytest.mark.parametrize(
    ("cut", "tokens"),
    [
        ("llama-bpe", ["<s>", "abc", "\u0120", "bc", "12"]),
        ("llama3", ["<s>", "abc", "\u0120", "bc", "12"]),
        ("falcon3", ["<s>", "abc", "\u0120", "bc", "12"]),
        ("gpt-2", ["a", "bc", "\u0120", "bc", "12"]),
        ("qwen2", ["a", "bc", "\u0120", "bc", "1", "2"]),
        ("deepseek-r1-qwen", ["a", "bc", "\u0120", "bc", "1", "2"]),
        ("smollm", ["a", "bc", "\u0120", "bc", "1", "2"]),
    ],
)
def test_build_tokenizer_of_byte_pairs_splits_as_llama_cpp(cut: str, tokens: list[str]) -> None:
    assert build_tokenizer(byte_pairs(cut), is_ordered=False).encode("abc bc12").tokens == tokens


@pytest.mark.parametrize("cut", ["llama-bpe", "gpt-2"])
@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("ends", [True, False])
def test_build_tokenizer_follows_add_bos_and_add_eos_fields(
    cut: str, begins: bool, ends: bool
) -> None:
    fields = byte_pairs(cut, add_bos_token=begins, add_eos_token=ends)
    tokens = build_tokenizer(fields, is_ordered=False).encode("c").tokens
    assert tokens == ["<s>"] * begins + ["c"] + ["</s>"] * ends


def test_build_tokenizer_with_missing_special_ids_uses_defaults_or_raises() -> None:
    fields = fields_of(MODELS[0])
    usual = {name: value for name, value in fields.items() if not name.endswith("_token_id")}
    for text, ids in MODELS[0]["texts"].items():
        assert build_tokenizer(usual, is_ordered=False).encode(text).ids == ids
    fields = byte_pairs("llama-bpe")
    del fields["tokenizer.ggml.bos_token_id"]
    with pytest.raises(
        CheckpointError, match="bos_token_id is None; expected a token id from 0 to 10"
    ):
        build_tokenizer(fields, is_ordered=False)
    with pytest.raises(
        CheckpointError, match="eos_token_id is 11; expected a token id from 0 to 10"
    ):
        build_tokenizer(byte_pairs("gpt-2", add_eos_token=True, eos_token_id=11), is_ordered=False)
