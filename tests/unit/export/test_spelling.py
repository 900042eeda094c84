"""From the tokens of every kind of tokenizer back to the text they came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from qkv_cli.export.foreign_arrays import tokens_of


@pytest.mark.parametrize(
    ("pieces", "text", "texts"),
    [
        (  # SentencePiece with bytes
            ["<s>", "▁the", "▁caf", "<0xC3>", "<0xA9>", "▁bank", "</s>"],
            "the café bank",
            ["", "the", "caf", "é", "é", "bank", ""],
        ),
        (["<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "▁ok"], "🙂 ok", ["🙂"] * 4 + ["ok"]),
        (["▁", "中文", "▁a"], "中文 a", ["", "中文", "a"]),
        (["▁a", "▁", "<0xE4>", "<0xB8>", "<0xAD>"], "a 中", ["a", " ", "中", "中", "中"]),
        (["▁a", "▁▁", "▁b"], "a   b", ["a", "  ", "b"]),
        (["en_XX", "▁the", "</s>"], "the", ["", "the", ""]),
        (["<bos>", "the", "▁riv", "er", "\n\n", "▁a"], "the river\n\n a", None),
        (["▁a", "<0xA9>", "▁b"], "a� b", ["a", "�", "b"]),
        (  # GPT-2's byte alphabet
            ["The", "ĠcafÃ", "©", "ĠðŁ", "ĳ", "į", "ðŁ", "ı", "½", "."],
            "The café 👍🏽.",
            ["The", "café", "é", "👍", "👍", "👍", "🏽", "🏽", "🏽", "."],
        ),
        (["caf", "Ã©"], "café", ["caf", "é"]),
        (["Ġthe", "Ġriver", "Ċ", "Ġ", "Ġa"], "the river\n  a", ["the", "river", "\n", " ", "a"]),
        (["<|im_start|>", "a", "Ġ<", "b", ">"], "a <b>", ["", "a", "<", "b", ">"]),
        (["<s>", "Ġis", "<mask>", ".", "</s>"], "is<mask>.", ["", "is", "<mask>", ".", ""]),
        # WordPiece
        (["[CLS]", "riv", "##er", "bank", "[SEP]"], "river bank", ["", "riv", "er", "bank", ""]),
        (["[CLS]", "a", "##", "[SEP]"], "a ##", ["", "a", "##", ""]),
        (["café", "à", "ł"], "café à ł", ["café", "à", "ł"]),
        # Byte pairs with an end of word, or with a sign that a word goes on
        (["hel", "lo</w>", "wor", "ld</w>", "!</w>"], "hello world !", None),
        (["riv@@", "er", "bank"], "river bank", ["riv", "er", "bank"]),
        # What `decode` gives for each id, and plain words
        (["The", " river", " bank", "."], "The river bank.", ["The", "river", "bank", "."]),
        (["the", "river"], "the river", ["the", "river"]),
    ],
)
def test_tokens_of_each_tokenizer_spelling_restores_text(
    pieces: list[str], text: str, texts: list[str] | None
) -> None:
    result, tokens = tokens_of(pieces)
    assert result == text
    assert [token.token for token in tokens] == pieces
    assert all(result[token.start : token.end] == token.text for token in tokens)
    if texts is not None:
        assert [token.text for token in tokens] == texts


@pytest.mark.parametrize(
    "piece",
    [
        "[CLS]",
        "[SEP]",
        "[PAD]",
        "<s>",
        "</s>",
        "<pad>",
        "<bos>",
        "<eos>",
        "<cls>",
        "<sep>",
        "<|endoftext|>",
        "<｜begin▁of▁sentence｜>",
        "<start_of_turn>",
        "<unused7>",
        "<BOS_TOKEN>",
    ],
)
def test_tokens_of_special_token_has_name_but_no_text(piece: str) -> None:
    text, tokens = tokens_of([piece, "▁a", piece])
    assert text == "a" and [token.special for token in tokens] == [True, False, True]
    assert [token.name for token in tokens] == [piece, "a", piece]


@pytest.mark.parametrize("piece", ["<0xC3>", "[MASK]", "<mask>", "<extra_id_0>", "<b>", "[NOTE]"])
def test_tokens_of_mask_or_byte_token_is_not_special(piece: str) -> None:
    _, tokens = tokens_of(["[CLS]", piece, "[SEP]"])
    assert not tokens[1].special and tokens[1].text


def test_tokens_of_unknown_token_marks_it_unknown_but_not_special() -> None:
    text, tokens = tokens_of(["[CLS]", "a", "[UNK]", "[SEP]"])
    assert text == "a [UNK]"
    assert [(t.special, t.unknown) for t in tokens][1:3] == [(False, False), (False, True)]


@given(st.text(alphabet="ab é中🙂👍🏽\n\t.", min_size=1, max_size=12), st.data())
def test_tokens_of_byte_level_text_cut_anywhere_restores_text(
    text: str, data: st.DataObject
) -> None:
    text = "a" + text
    [(spelled, _)] = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    ).pre_tokenize_str(text)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(spelled)), max_size=5)) | {len(spelled)})
    pieces = [spelled[a:b] for a, b in zip([0, *cuts], cuts, strict=False) if a < b]
    if not any(piece.startswith(("Ġ", "Ċ")) for piece in pieces) and text.isascii():
        pieces.append("Ġ")
        text += " "
    assert tokens_of(pieces)[0] == text
