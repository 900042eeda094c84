"""Two small SentencePiece models, and what sentencepiece itself makes of some texts.

Run by hand where sentencepiece is installed: `python tests/golden/gguf/make.py`. Writes
pieces.json: each model's pieces as a GGUF file has them, and the ids of each text.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece

HERE = Path(__file__).parent
CORPUS = HERE.parents[2] / "sample_texts" / "prose.txt"
TEXTS = [
    "The river bank was muddy after the rain.",
    "the  river   bank",
    " It didn't cross the street, because it was too tired!",
    "naïve café 東京 ☃",
    "1984 was a year",
    "a\nb\tc",
]
NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6


def train(*, prefix: bool) -> dict[str, Any]:
    model_bytes = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=str(CORPUS),
        model_writer=model_bytes,
        model_type="bpe",
        vocab_size=500,
        byte_fallback=True,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=model_bytes.getvalue())
    ids = range(model.get_piece_size())
    return {
        "add_space_prefix": prefix,
        "pieces": [model.id_to_piece(i) for i in ids],
        "scores": [model.get_score(i) for i in ids],
        "kinds": [kind(model, i) for i in ids],
        "texts": {text: [model.bos_id(), *model.encode(text)] for text in TEXTS},
    }


def kind(model: Any, i: int) -> int:
    """`tokenizer.ggml.token_type`."""
    if model.is_unknown(i):
        return UNKNOWN
    if model.is_control(i):
        return CONTROL
    return BYTE if model.is_byte(i) else UNUSED if model.is_unused(i) else NORMAL


def main() -> None:
    models = [train(prefix=True), train(prefix=False)]
    (HERE / "pieces.json").write_text(json.dumps(models, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
