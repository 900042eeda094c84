"""SentencePiece models: the pieces that the library makes, see tests/golden/make_pieces.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.tokenizers.sentencepiece import SentencePieces

GOLDEN = Path(__file__).parents[2] / "golden" / "pieces"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("name", "text", "pieces", "ids"),
    [(name, *case) for name, cases in EXPECTED.items() for case in cases],
)
def test_sentence_pieces_split_gives_same_pieces_as_library(
    name: str, text: str, pieces: list[str], ids: list[int]
) -> None:
    result = SentencePieces.open(GOLDEN / f"{name}.model").split(text)
    assert [piece.text for piece in result] == pieces
    assert [piece.id for piece in result] == ids


def spans(name: str, text: str) -> list[tuple[str, str]]:
    result = SentencePieces.open(GOLDEN / f"{name}.model").split(text)
    return [(piece.text, text[piece.start : piece.end]) for piece in result]


def test_sentence_pieces_offsets_refer_to_original_text() -> None:
    # Two blanks are one letter; e and its accent are one letter; a ligature is two.
    assert spans("plain", "the  river") == [("the", "the"), ("▁", " "), ("▁river", " river")]
    assert spans("unigram", "e\u0301") == [("▁", ""), ("é", "e\u0301")]
    assert [text for _, text in spans("bpe", "ﬁ")] == ["ﬁ", "ﬁ"]


@given(st.text(max_size=40), st.sampled_from(sorted(EXPECTED)))
def test_sentence_pieces_of_any_text_are_in_order_within_it(text: str, name: str) -> None:
    at = 0
    for piece in MODELS[name].split(text):
        assert at <= piece.start <= piece.end <= len(text) or piece.start == piece.end
        at = piece.start


MODELS = {name: SentencePieces.open(GOLDEN / f"{name}.model") for name in EXPECTED}


@given(st.data())
def test_sentence_pieces_of_damaged_file_split_or_raise_checkpoint_error(
    data: st.DataObject,
) -> None:
    undamaged = (GOLDEN / "unigram.model").read_bytes()
    cut = data.draw(st.integers(0, len(undamaged)))
    flipped = bytearray(undamaged[:cut])
    if flipped:
        flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= data.draw(st.integers(1, 255))
    path = GOLDEN.parent / "never-written.model"
    try:
        SentencePieces.parse(bytes(flipped), str(path)).split("the bank of the river é")
    except CheckpointError as error:
        assert str(path) in str(error) or "is broken" in str(error)


def test_sentence_pieces_of_word_model_or_missing_file_raise_checkpoint_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "words.model"
    # A piece of kind UNKNOWN, and a trainer that says: by words.
    path.write_bytes(b"\x0a\x09\x0a\x05<unk>\x18\x02" + b"\x12\x02\x18\x03")
    with pytest.raises(CheckpointError, match="model type word is not implemented"):
        SentencePieces.open(path)
    with pytest.raises(CheckpointError, match="Could not read"):
        SentencePieces.open(tmp_path / "absent.model")
