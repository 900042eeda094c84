"""Input tokens of encoders and decoders, against transformers; see golden/make_translators.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from qkv_cli.core.generate import Rules, generate
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.tokenizers.translators import (
    FramedTokenizer,
    decoder_start_id,
    open_tokenizers,
)
from qkv_cli.session.load import load

GOLDEN = Path(__file__).parents[2] / "golden"
EXPECTED = json.loads((GOLDEN / "translators" / "expected.json").read_text("utf-8"))
ROWS = [(case, *row) for case, found in EXPECTED.items() for row in found["rows"]]


def kind_of(case: str) -> str:
    config = json.loads((GOLDEN / "translators" / case / "config.json").read_text())
    return str(config["model_type"])


@pytest.mark.parametrize(("case", "text", "target", "read", "fed"), ROWS)
def test_open_tokenizers_gives_same_source_and_target_ids_as_transformers(
    case: str, text: str, target: str, read: list[int], fed: list[int]
) -> None:
    kind = kind_of(case)
    source, decoder = open_tokenizers(GOLDEN / "translators" / case, kind)
    assert [token.id for token in source.encode(text)] == read
    tokens = [token.id for token in decoder.encode(target)]
    start = decoder_start_id(
        {"model_type": kind, "decoder_start_token_id": EXPECTED[case]["start"]}, 99
    )
    assert [tokens[-1] if start is None else start, *tokens[:-1]] == fed


@pytest.mark.parametrize("case", sorted(EXPECTED))
def test_translator_tokens_have_index_and_offsets_in_text(case: str) -> None:
    source, decoder = open_tokenizers(GOLDEN / "translators" / case, kind_of(case))
    for text in ("the river bank", "  muddy é  "):
        for tokenizer in (source, decoder):
            tokens = tokenizer.encode(text)
            assert [token.i for token in tokens] == [*range(len(tokens))]
            assert all(token.text == text[token.start : token.end] for token in tokens)
    ids = [token.id for token in decoder.encode("der war")]
    text, tokens = decoder.decode(ids)
    assert [token.id for token in tokens] == ids
    assert all(token.text == text[token.start : token.end] for token in tokens)


@pytest.mark.parametrize(
    ("case", "code", "usual"),
    [
        ("nllb", "fra_Latn", "eng_Latn"),
        ("mbart", "ro_RO", "en_XX"),
        ("mbart50", "ro_RO", "en_XX"),
        ("m2m_100", "__fr__", "__en__"),
    ],
)
def test_translator_text_starting_with_language_code_selects_language(
    case: str, code: str, usual: str
) -> None:
    source, target = open_tokenizers(GOLDEN / "translators" / case, kind_of(case))
    text = f" {code} the river"
    plain, named = source.encode("the river"), source.encode(text)
    renamed = [code if t.token == usual else t.token for t in plain]
    assert [t.token for t in named] == renamed
    assert [t.token for t in named if t.special].count(code) == 1
    assert all(t.text == text[t.start : t.end] for t in named)
    assert isinstance(target, FramedTokenizer)
    ids = target.codes
    assert (
        target.only_language(f"{code} "),
        target.only_language(text),
        target.only_language("xx"),
    ) == (
        ids[code],
        None,
        None,
    )
    rules = target.rules_for_language(Rules(2, (2,)), ids[code])
    expected = (
        Rules(ids[code], (2,)) if case == "mbart" else Rules(2, (2,), forced_first_id=ids[code])
    )
    assert rules == expected


def test_marian_tokenizers_recognise_language_code_and_differ_by_side(tmp_path: Path) -> None:
    source, target = open_tokenizers(GOLDEN / "translators" / "marian", "marian")
    tokens = source.encode(">>fra<< the")
    assert tokens[0].token == ">>fra<<"
    assert (tokens[0].text, tokens[0].unknown, tokens[-1].token) == (">>fra<<", False, "</s>")
    assert source.encode(">>xyz<< the")[0].unknown
    words = [[t.token for t in tokenizer.encode("fisherman")] for tokenizer in (source, target)]
    assert words[0] != words[1]  # other pieces for another language


@pytest.fixture
def marian(tmp_path: Path) -> Path:
    """A checkpoint whose table has 64 tokens, and a vocabulary of as many."""
    folder = tmp_path / "opus"
    shutil.copytree(GOLDEN / "checkpoints" / "marian-writes", folder)
    for name in ("source.spm", "target.spm", "tokenizer_config.json", "vocab.json"):
        shutil.copy(GOLDEN / "translators" / "marian" / name, folder)
    ids = json.loads((folder / "vocab.json").read_text("utf-8"))
    vocabulary = {piece: id for piece, id in ids.items() if id < 63} | {"<pad>": 63}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    return folder


def test_read_without_target_generates_translation(marian: Path) -> None:
    loaded = load(marian)
    run = loaded.read("the bank of the river")
    assert (run.block, run.source) == ("cross", "the bank of the river")
    assert [
        "last token that the decoder has read" in run.notes[0],
        "model generated" in run.notes[1],
    ] == [True, True]
    assert len(loaded.read("the bank", "the river").notes) == 1
    assert [t.id for t in run.keys] == [t.id for t in loaded.tokenizer.encode(run.source)]
    assert loaded.rules is not None
    rules = loaded.rules()
    ids = generate(loaded.model, [t.id for t in run.keys], rules, 3 * len(run.keys) + 10)
    assert [t.id for t in run.queries] == [rules.start_id, *ids]
    assert rules.banned_sequences == ((46,), (7, 60))
    assert all(t.text == run.text[t.start : t.end] for t in run.queries)
    layers = [*run.layers]
    assert len(layers) == 3
    assert layers[0].cross is not None
    assert layers[0].cross.pattern().shape == (2, len(ids) + 1, len(run.keys))
    assert loaded.read(">>fra<<", "the bank").text == ">>fra<<"  # no code alone: Marian's is read
    decoder = loaded.read("the bank", block="decoder")
    assert decoder.keys == decoder.queries


def test_read_with_unimplemented_generation_rule_raises_only_if_generating(marian: Path) -> None:
    path = marian / "generation_config.json"
    path.write_text(json.dumps({"encoder_no_repeat_ngram_size": 4}))
    loaded = load(marian)
    assert loaded.read("the bank", "the river").block == "cross"
    with pytest.raises(CheckpointError, match="encoder_no_repeat_ngram_size to 4"):
        loaded.read("the bank")


def test_open_tokenizers_with_missing_token_or_language_raises_checkpoint_error(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "m2m"
    shutil.copytree(GOLDEN / "translators" / "m2m_100", folder)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({"src_lang": "xx"}))
    with pytest.raises(CheckpointError, match="needs the token '__xx__'"):
        open_tokenizers(folder, "m2m_100")
    settings.write_text(json.dumps({"language_codes": ["m2m100"]}))
    with pytest.raises(CheckpointError, match="language_codes to"):
        open_tokenizers(folder, "m2m_100")
    settings.write_text(json.dumps({"language_codes": "martian"}))
    with pytest.raises(CheckpointError, match="language_codes to 'martian'"):
        open_tokenizers(folder, "m2m_100")
    (folder / "vocab.json").write_text('{"a": 0}')
    settings.unlink()
    with pytest.raises(CheckpointError, match="has no '<unk>'"):
        open_tokenizers(folder, "m2m_100")
    with pytest.raises(CheckpointError, match=r"decoder_start_token_id .* is 99"):
        decoder_start_id({"decoder_start_token_id": 99}, 99)


def test_read_with_language_code_generates_in_that_language(tmp_path: Path) -> None:
    folder = tmp_path / "nllb"
    shutil.copytree(GOLDEN / "checkpoints" / "m2m_100-writes", folder)
    (folder / "generation_config.json").write_text(json.dumps({"no_repeat_ngram_size": 1}))
    words = ["<s>", "<pad>", "</s>", "<unk>", "eng_Latn", "deu_Latn", "the", "house", "Haus"]
    words += [f"w{i}" for i in range(64 - len(words))]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens(words[:6])
    inner.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "NllbTokenizerFast", "src_lang": "eng_Latn"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    loaded = load(folder)
    reading = loaded.read("deu_Latn", "the house")
    assert [t.token for t in reading.keys] == ["eng_Latn", "the", "house", "</s>"]
    assert [t.token for t in reading.queries[:2]] == ["</s>", "deu_Latn"]
    assert (reading.source, reading.text.split()[0]) == ("the house", reading.queries[2].text)
    assert len({t.id for t in reading.queries}) > 5
    taught = loaded.read("deu_Latn Haus", "the house")
    assert [t.token for t in taught.queries] == ["</s>", "deu_Latn", "Haus"]
    german = loaded.read("Haus", "deu_Latn house")
    assert [t.token for t in german.keys] == ["deu_Latn", "house", "</s>"]
