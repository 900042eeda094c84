"""Tiny tokenizers of translators, and what transformers makes of a text and its translation.

Run by hand where transformers and sentencepiece are installed, after make_pieces.py: `python
tests/golden/make_translators.py`. Writes `translators/CASE/`: the tokenizer's files, and
`translators/expected.json` with what the encoder and a decoder that is taught the target read.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers as tr
from tokenizers import pre_tokenizers

HERE = Path(__file__).parent / "translators"
PIECES = Path(__file__).parent / "pieces"
WORDS = ["▁the", "▁river", "▁bank", "▁was", "▁mud", "dy", "▁der", "▁Fluss", "▁war", "s", ".", "▁"]
UNIGRAM = [(word, -float(i)) for i, word in enumerate(WORDS)]
SPECIAL = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
TEXTS = [
    ("the river bank was muddy.", "der Fluss war muddy"),
    ("  the   banks", "der  xyz é Fluss."),
    ("river </s> bank", "Fluss <unk> war"),
    ("cafe\u0301 ﬁ <mask> ½ the", "tab\there  😀 <s> Ａ"),
]


def bart() -> Any:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, (token, _) in enumerate(SPECIAL)}
    for piece in [*letters, "th", "the", "Ġthe", "Ġr", "<mask>"]:
        vocabulary.setdefault(piece, len(vocabulary))
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "r")]
    return tr.BartTokenizer(vocab=vocabulary, merges=merges)


def spelled(target: str) -> None:
    """Marian's and M2M-100's: the pieces have ids of their own, and not all have one."""
    import sentencepiece

    folder = HERE / target
    folder.mkdir(exist_ok=True)
    vocabulary = (
        ["</s>", "<unk>", "<s>"] if target == "marian" else ["<s>", "<pad>", "</s>", "<unk>"]
    )
    for name in ("bpe", "unigram"):
        model = sentencepiece.SentencePieceProcessor(model_file=str(PIECES / f"{name}.model"))
        vocabulary += [model.id_to_piece(i) for i in range(3, 340, 3)]
    vocabulary += [">>fra<<", "<pad>"] if target == "marian" else []
    ids = {piece: i for i, piece in enumerate(dict.fromkeys(vocabulary))}
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    if target == "marian":
        shutil.copy(PIECES / "unigram.model", folder / "source.spm")
        shutil.copy(PIECES / "bpe.model", folder / "target.spm")
        config = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "fr"}
    else:
        shutil.copy(PIECES / "bpe.model", folder / "sentencepiece.bpe.model")
        config = {"tokenizer_class": "M2M100Tokenizer", "src_lang": "en", "tgt_lang": "de"}
        codes = tr.models.m2m_100.tokenization_m2m_100.FAIRSEQ_LANGUAGE_CODES["m2m100"]
        config["additional_special_tokens"] = [f"__{code}__" for code in codes]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def sentences(name: str) -> None:
    """As mBART 50 was published: a SentencePiece model and settings."""
    (HERE / name).mkdir(exist_ok=True)
    shutil.copy(PIECES.parent / "tokenizers" / "mbart" / "sentencepiece.bpe.model", HERE / name)
    config = {"tokenizer_class": "MBart50Tokenizer", "src_lang": "en_XX", "tgt_lang": "sl_SI"}
    (HERE / name / "tokenizer_config.json").write_text(json.dumps(config))


def shifted(labels: list[int], start: int | None) -> list[int]:
    """As the model's own shift_tokens_right does it."""
    row = torch.tensor([labels])
    if start is None:
        return tr.models.mbart.modeling_mbart.shift_tokens_right(row, 1)[0].tolist()
    return tr.models.bart.modeling_bart.shift_tokens_right(row, 1, start)[0].tolist()


def main() -> None:
    HERE.mkdir(exist_ok=True)
    translators = {
        "bart": (bart(), 2),
        "t5": (tr.T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *UNIGRAM]), 0),
        "mbart": (
            tr.MBartTokenizer(vocab=SPECIAL + UNIGRAM, src_lang="en_XX", tgt_lang="de_DE"),
            None,
        ),
        "mbart50": (
            tr.MBart50Tokenizer(vocab=SPECIAL + UNIGRAM, src_lang="en_XX", tgt_lang="de_DE"),
            None,
        ),
        "mbart50-old": (None, None),
        "nllb": (
            tr.NllbTokenizer(
                vocab={t: i for i, t in enumerate([t for t, _ in SPECIAL] + ["▁", "▁t", "h", "t"])},
                merges=[("▁", "t")],
                src_lang="eng_Latn",
                tgt_lang="deu_Latn",
            ),
            2,
        ),
        "marian": (None, 60),
        "m2m_100": (None, 2),
    }
    expected = {}
    for name, (tokenizer, start) in translators.items():
        if name == "mbart50-old":
            sentences(name)
        elif tokenizer is None:
            spelled(name)
        else:
            tokenizer.save_pretrained(HERE / name)
        kind = {"nllb": "m2m_100"}.get(name, name if "50" not in name else "mbart")
        (HERE / name / "config.json").write_text(json.dumps({"model_type": kind}))
        loaded = tr.AutoTokenizer.from_pretrained(HERE / name)
        rows = []
        for text, target in TEXTS:
            encoded = loaded(text, text_target=target)
            rows.append([text, target, encoded["input_ids"], shifted(encoded["labels"], start)])
        expected[name] = {"start": start, "rows": rows}
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
