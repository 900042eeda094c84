"""The text and the place of each piece, for tokenizers that spell a character in several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from qkv_cli.core.tokens import Token
from qkv_cli.formats.tokenizers.pieces import PieceTokenizer
from qkv_cli.formats.tokenizers.sentencepiece import SentencePieces
from qkv_cli.formats.tokenizers.translators import SentencePieceSplitter

PIECES = Path(__file__).parents[2] / "golden" / "pieces"
METASPACE = [
    normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]),
    normalizers.Replace(" ", "\u2581"),
]


def bytewise(normalizer: normalizers.Normalizer) -> PieceTokenizer:
    """SentencePiece's byte fallback: pieces for a, b and their blank, else bytes."""
    pieces = ["<unk>", "\u2581", "a", "b", "\u2581a"] + [f"<0x{i:02X}>" for i in range(256)]
    ids = {piece: i for i, piece in enumerate(pieces)}
    model = models.BPE(ids, [("\u2581", "a")], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    inner = Tokenizer(model)
    inner.normalizer = normalizer
    return PieceTokenizer(inner, 0)


def byte_level() -> PieceTokenizer:
    """GPT-2's byte alphabet without a merge: every byte is a piece."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({sign: i for i, sign in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PieceTokenizer(inner, None)


def places(tokens: list[Token]) -> list[tuple[str, str, int, int]]:
    return [(token.token, token.text, token.start, token.end) for token in tokens]


def test_encode_gives_added_separator_empty_text() -> None:
    tokenizer = bytewise(METASPACE[0])
    assert places(tokenizer.encode("é a")) == [
        ("\u2581", "", 0, 0),
        ("<0xC3>", "é", 0, 1),
        ("<0xA9>", "é", 0, 1),
        ("\u2581a", "a", 2, 3),
    ]
    assert places(tokenizer.encode(" b")) == [
        ("\u2581", "", 0, 0),
        ("\u2581", " ", 0, 1),
        ("b", "b", 1, 2),
    ]
    assert places(tokenizer.encode("a  b"))[1:] == [
        ("\u2581", " ", 1, 2),
        ("\u2581", " ", 2, 3),
        ("b", "b", 3, 4),
    ]


def test_encode_of_separator_in_text_keeps_its_text() -> None:
    assert places(bytewise(METASPACE[1]).encode("\u2581b")) == [
        ("\u2581", "\u2581", 0, 1),
        ("b", "b", 1, 2),
    ]


@pytest.mark.parametrize("name", ["unigram", "bpe"])
def test_encode_with_sentencepiece_gives_added_separator_empty_text(name: str) -> None:
    pieces = SentencePieces.open(PIECES / f"{name}.model")
    ids = {piece: i for i, piece in enumerate(pieces.pieces)}
    tokenizer = SentencePieceSplitter(pieces, ids, pieces.unknown_id, frozenset({"</s>"}))
    first, second, *_ = tokenizer.encode("日本 is")
    assert (first.token, first.text, first.start, first.end) == ("\u2581", "", 0, 0)
    assert (second.text, second.start, second.end) == ("日本", 0, 2)


def test_encode_of_special_token_in_text_treats_it_as_text() -> None:
    pieces = SentencePieces.open(PIECES / "unigram.model")
    ids = {piece: i for i, piece in enumerate(pieces.pieces)}
    tokenizer = SentencePieceSplitter(pieces, ids, pieces.unknown_id, frozenset({"</s>"}))
    [written] = [token for token in tokenizer.encode("the </s> bank") if token.token == "</s>"]
    assert (written.text, written.special) == ("</s>", False)


@pytest.mark.parametrize("text", ["né 中文🙂", "👩\u200d🚀 a", " a  b", "x\ufffdy", "a"])
def test_spelled_restores_text_and_offsets_from_ids(text: str) -> None:
    tokenizer = byte_level()
    tokens = tokenizer.encode(text)
    result, spelled = tokenizer.decode([token.id for token in tokens])
    assert result == text
    assert places(spelled) == places(tokens)
    assert all(text[token.start : token.end] == token.text for token in tokens)


def test_spelled_piece_with_bytes_of_two_characters_covers_both() -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {sign: i for i, sign in enumerate([*alphabet, "\u0137\u00d0"])}
    inner = Tokenizer(models.BPE(ids, []))
    inner.decoder = decoders.ByteLevel()
    tokenizer = PieceTokenizer(inner, None)
    spelled = [ids["\u00d0"], ids["\u0137\u00d0"], ids["\u00b6"]]  # D0 95 D0 B6
    _, tokens = tokenizer.decode(spelled)
    assert [(token.start, token.end) for token in tokens] == [(0, 1), (0, 2), (1, 2)]


def test_spelled_incomplete_character_becomes_replacement_character() -> None:
    tokenizer = byte_level()
    ids = [token.id for token in tokenizer.encode("aé")]
    text, tokens = tokenizer.decode(ids[:-1])
    assert text == "a\ufffd" and tokens[-1].text == "\ufffd"
    assert json.dumps(text)


def test_spelled_joins_byte_pieces_of_translator_into_characters() -> None:
    pieces = SentencePieces.open(PIECES / "bytes.model")
    ids = {piece: i for i, piece in enumerate(pieces.pieces)}
    tokenizer = SentencePieceSplitter(pieces, ids, pieces.unknown_id, frozenset({"</s>"}))
    for text in ("the ☃ bank", "☃ is"):
        tokens = tokenizer.encode(text)
        assert any(token.token.startswith("<0x") for token in tokens)
        result, spelled = tokenizer.decode([*(token.id for token in tokens), ids["</s>"]])
        assert result == text
        assert [place[:2] for place in places(spelled)][:-1] == [t[:2] for t in places(tokens)]
        assert spelled[-1].special
        assert all(result[t.start : t.end] == t.text for t in spelled)


def test_spelled_joins_byte_pieces_without_decoder_into_characters() -> None:
    tokenizer = bytewise(METASPACE[0])
    ids = [token.id for token in tokenizer.encode("a é b")]
    text, tokens = tokenizer.decode(ids)
    assert text == "a é b"
    assert [token.text for token in tokens] == ["a", " ", "é", "é", " ", "b"]
    assert tokenizer.next_token(ids[:1], ids[1]).text == " "
