"""A tokenizer that does not fit the model: ids and token types without an embedding row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.tokenizers.sentencepiece import (
    Charsmap,
    Lexicon,
    Normaliser,
    SentencePieces,
    merge_pairs,
)
from qkv_cli.formats.tokenizers.translators import SentencePieceSplitter
from qkv_cli.session.load import load
from qkv_cli.session.run import LoadedModel

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"


def opened(folder: Path, case: str, ids: Mapping[str, int]) -> LoadedModel:
    """A golden checkpoint with a tokenizer that gives whole words these ids."""
    shutil.copytree(GOLDEN / case, folder, dirs_exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, **ids}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A $B:7", special_tokens=[("[CLS]", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return load(folder)


def rows(case: str) -> int:
    return int(json.loads((GOLDEN / case / "config.json").read_text())["vocab_size"])


@pytest.mark.parametrize("case", ["bert", "gpt2", "llama"])
def test_read_with_token_ids_beyond_embedding_names_first_one(tmp_path: Path, case: str) -> None:
    n = rows(case)
    loaded = opened(tmp_path, case, {"last": n - 1, "foo": n, "bar": n + 9})
    loaded.read("last")
    with pytest.raises(CheckpointError) as refusal:
        loaded.read("last foo bar")
    assert str(refusal.value) == (
        f"The tokenizer returns token id {n} ('foo'), but the embedding has {n} rows "
        f"(0 to {n - 1}): the tokenizer does not match the weights."
    )


@pytest.mark.parametrize("texts", [("foo", "the"), ("the", "foo")], ids=["text", "source"])
def test_read_of_encoder_decoder_checks_token_ids_of_both_texts(
    tmp_path: Path, texts: tuple[str, str]
) -> None:
    loaded = opened(tmp_path, "t5", {"the": 3, "foo": rows("t5")})
    loaded.read("the", "the")
    with pytest.raises(CheckpointError, match=r"\('foo'\), but the embedding has"):
        loaded.read(*texts)


def test_read_with_separate_decoder_embedding_checks_its_rows(tmp_path: Path) -> None:
    loaded = opened(tmp_path, "marian-two-tables", {"the": 3, "last": 61, "foo": 62})
    loaded.read("last", "foo")  # the source has 64 rows
    with pytest.raises(CheckpointError, match=r"token id 62 \('foo'\), but the embedding has 62"):
        loaded.read("foo", "the")


def test_read_of_pair_checks_special_tokens_of_template(tmp_path: Path) -> None:
    opened(tmp_path, "bert", {"the": 3, "[BIG]": rows("bert")})
    saved = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    saved.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A [BIG] $B", special_tokens=[("[BIG]", rows("bert"))]
    )
    saved.save(str(tmp_path / "tokenizer.json"))
    loaded = load(tmp_path)
    loaded.read("the")
    with pytest.raises(CheckpointError, match=r"\('\[BIG\]'\)"):
        loaded.read("the", pair="the")


def test_read_of_pair_checks_token_ids_and_types(tmp_path: Path) -> None:
    loaded = opened(tmp_path, "bert", {"the": 3, "foo": rows("bert")})
    with pytest.raises(CheckpointError, match=r"\('foo'\)"):
        loaded.read("the", pair="foo")
    with pytest.raises(
        CheckpointError, match=r"token type 7, but the model has 2 types \(0 to 1\)"
    ):
        loaded.read("the", pair="the")


def test_read_with_negative_token_id_raises_checkpoint_error(tmp_path: Path) -> None:
    loaded = opened(tmp_path, "bert", {"the": 3})
    lexicon = Lexicon({"a": 0.0}, (), frozenset(), 0.0, 0.0, 1)
    normaliser = Normaliser(Charsmap.of(b""), adds_space=False, space_is_last=False)
    pieces = SentencePieces(("a",), {"a": 0}, normaliser, lexicon, merge_pairs, 0, False)
    tokenizer = SentencePieceSplitter(pieces, {"a": -2, "<unk>": 0}, 0, frozenset())
    broken = LoadedModel(loaded.model, tokenizer, loaded.info)
    with pytest.raises(CheckpointError, match=r"token id -2 \('a'\)"):
        broken.read("a")
