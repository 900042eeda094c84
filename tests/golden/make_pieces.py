"""Small SentencePiece models, and how the library splits awkward texts with them.

Run by hand where sentencepiece is installed: `python tests/golden/make_pieces.py`. Writes
`pieces/*.model` and `pieces/expected.json`. Made with sentencepiece 0.2.3.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as protobuf

HERE = Path(__file__).parent / "pieces"
CORPUS = sorted((Path(__file__).parents[2] / "sample_texts").glob("*.txt"))
# A prefix of code points, and what is written for it; accents composed, blanks made one.
RULES = """\
FB01\t66 69
41 30A\tC5
65 301\tE9
200B\t
2026\t2E 2E 2E
A0\t20
3000\t20
9\t20
A\t20
"""
MODELS: dict[str, dict[str, Any]] = {
    "unigram": {"model_type": "unigram", "user_defined_symbols": ["<sep>", "bank of", "é"]},
    "bpe": {"model_type": "bpe", "user_defined_symbols": ["<sep>", "bank of", "é"]},
    "bytes": {"model_type": "unigram", "byte_fallback": True, "vocab_size": 450},
    "suffix": {"model_type": "bpe", "byte_fallback": True, "treat_whitespace_as_suffix": True},
    "plain": {
        "model_type": "unigram",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
    },
}
TEXTS = [
    "The fisherman sat on the bank of the river.",
    "  double  blanks   here ",
    "cafe\u0301 A\u030angstrom na\u00efve e\u0301\u0302\u0303 stack",
    "\u00e9\u00e9 <sep>bank of<sep> é",
    "😀 👩\u200d👩\u200d👧 🇩🇪",
    "日本語 한국어 क्षि ที่",
    "ﬁne … “quotes”",
    "tab\there\nline\u3000wide\u00a0hard",
    "zero\u200bwidth \u200b",
    "▁ low ▁▁ line",
    "",
    "   ",
    "\u200b",
    "<unk> <s> </s>",
    "\x00\x07",
]


def main() -> None:
    HERE.mkdir(exist_ok=True)
    expected = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus, rules = Path(folder) / "corpus.txt", Path(folder) / "rules.tsv"
        corpus.write_text("\n".join(path.read_text("utf-8") for path in CORPUS), "utf-8")
        rules.write_text(RULES)
        for name, settings in MODELS.items():
            sentencepiece.SentencePieceTrainer.train(
                input=str(corpus),
                model_prefix=str(HERE / name),
                hard_vocab_limit=False,
                normalization_rule_tsv=str(rules),
                minloglevel=2,
                **{"vocab_size": 350} | settings,
            )
            (HERE / f"{name}.vocab").unlink()
            if name in ("unigram", "bpe"):
                _forget_some(HERE / f"{name}.model")
            model = sentencepiece.SentencePieceProcessor(model_file=str(HERE / f"{name}.model"))
            expected[name] = [
                [text, model.encode(text, out_type=str), model.encode(text)] for text in TEXTS
            ]
    text = json.dumps(expected, ensure_ascii=False, indent=0)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


def _forget_some(path: Path) -> None:
    """A piece that is marked as unused is split again."""
    model, rng = protobuf.ModelProto(), random.Random(0)
    model.ParseFromString(path.read_bytes())
    for piece in model.pieces:
        if piece.type == 1 and len(piece.piece) > 1 and rng.random() < 0.2:
            piece.type = 5
    path.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
