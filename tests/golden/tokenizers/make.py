"""Tiny tokenizers in the files that were there before tokenizer.json, and what transformers reads.

Run by hand where transformers and sentencepiece are installed:
`python tests/golden/tokenizers/make.py [FAMILY...]`. Writes FAMILY/ with the files, and
expected.json: for each text of `TEXTS` its ids, and for each of `PAIRS` its ids and token types.
Made with the versions that `../checkpoints/versions.txt` names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import sentencepiece
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer
from transformers import AutoTokenizer

HERE = Path(__file__).parent
CORPUS = sorted((HERE.parents[2] / "sample_texts").glob("*.txt"))
TEXTS = [
    "The river bank was muddy after the rain.",
    "She doesn't deposit  two spaces,\ttabs\nand lines",
    " leading and trailing ",
    "Ünïcödé naïve café — “quotes” ‘single’ ``old'' style",
    "東京タワー and 北京, ﬁne ligatures ½ ① Ａ",
    "cafe\u0301 combining, zero\u200bwidth, soft\u00adhyphen, nbsp\u00a0here",
    "🙂 emoji 👩‍👩‍👧 families 🇩🇪",
    "2024-11-24 3.14 1,000,000 a_b c++ e-mail@example.org",
    "ALL CAPS and CamelCase",
    "a special <s> or [SEP] or </s> or <pad> inside",
    "The capital of France is <mask>. Or [MASK]?",
    "▁underline ▁▁ twice",
    "العربية हिन्दी ไทย",
    "\u0000control\u0007 characters",
]
PAIRS = [("The river bank.", "She sat on it."), ("mud", " rain")]


def corpus() -> list[str]:
    lines = [line for path in CORPUS for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line.strip()]


def word_pieces(folder: Path, specials: list[str], *, lowercase: bool = True) -> None:
    trained = BertWordPieceTokenizer(lowercase=lowercase)
    trained.train_from_iterator(
        corpus(), vocab_size=400, special_tokens=specials, show_progress=False
    )
    pieces = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")


def byte_pairs(folder: Path, specials: list[str]) -> None:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        corpus(), vocab_size=450, special_tokens=specials, show_progress=False
    )
    trained.save_model(str(folder))


def added(folder: Path) -> None:
    """Word pieces, and tokens that were added to them."""
    word_pieces(folder, BERT, lowercase=False)
    n = len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
    (folder / "added_tokens.json").write_text(json.dumps({"muddy after": n, "<s>": n + 1}))


def sentences(folder: Path, name: str, **settings: object) -> None:
    """A SentencePiece model with a few rules of writing of its own, so that its file is small."""
    rules = folder / "rules.tsv"
    signs = {"Ａ": "A", "ﬁ": "fi", "½": "1/2", "①": "1", "\u00a0": " ", "\t": " ", "\n": " "}
    rules.write_text(
        "".join(
            " ".join(f"{ord(c):X}" for c in sign)
            + "\t"
            + " ".join(f"{ord(c):X}" for c in plain)
            + "\n"
            for sign, plain in signs.items()
        ),
        encoding="utf-8",
    )
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_prefix=str(folder / "trained"),
        **{"vocab_size": 300, "normalization_rule_tsv": str(rules), "minloglevel": 2} | settings,
    )
    (folder / "trained.model").rename(folder / name)
    (folder / "trained.vocab").unlink()
    rules.unlink()


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MASK = {"__type": "AddedToken", "content": "[MASK]", "lstrip": True, "rstrip": False}
MASK |= {"normalized": False, "single_word": False, "special": True}
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
FAIRSEQ = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
ALBERT = {
    "pad_id": 0,
    "unk_id": 1,
    "bos_id": -1,
    "eos_id": -1,
    "control_symbols": "[CLS],[SEP],[MASK]",
}
DEBERTA = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "bos_piece": "[CLS]"} | {
    "eos_piece": "[SEP]",
    "unk_piece": "[UNK]",
    "pad_piece": "[PAD]",
}
MERGED = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 500} | {
    "normalization_rule_name": "identity",
    "normalization_rule_tsv": "",
    "split_digits": True,
    "remove_extra_whitespaces": False,
}
LLAMA = MERGED | {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
GEMMA = (
    MERGED
    | {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "add_dummy_prefix": False}
    | {
        "bos_piece": "<bos>",
        "eos_piece": "<eos>",
    }
)
PEGASUS = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
Files = Callable[[Path], None]
# By folder: model_type, what writes its files, tokenizer_config.json.
FAMILIES: dict[str, tuple[str, Files, dict[str, object]]] = {
    "bert": ("bert", lambda f: word_pieces(f, BERT), {}),
    "bert-cased": (
        "bert",
        lambda f: word_pieces(f, BERT, lowercase=False),
        {"do_lower_case": False},
    ),
    "distilbert": ("distilbert", lambda f: word_pieces(f, BERT), {"do_lower_case": True}),
    "electra": ("electra", lambda f: word_pieces(f, BERT), {"strip_accents": False}),
    "mpnet": ("mpnet", lambda f: word_pieces(f, [*ROBERTA[:3], "[UNK]", "<mask>"]), {}),
    "gpt2": ("gpt2", lambda f: byte_pairs(f, ["<|endoftext|>"]), {}),
    "gpt_neo": ("gpt_neo", lambda f: byte_pairs(f, ["<|endoftext|>"]), {"add_prefix_space": True}),
    "gptj": ("gptj", lambda f: byte_pairs(f, ["<|endoftext|>"]), {}),
    "phi": ("phi", lambda f: byte_pairs(f, ["<|endoftext|>"]), {}),
    "starcoder2": ("starcoder2", lambda f: byte_pairs(f, ["<|endoftext|>"]), {}),
    "opt": (
        "opt",
        lambda f: byte_pairs(f, ROBERTA),
        {
            "add_bos_token": True,
            "bos_token": "</s>",
            "eos_token": "</s>",
            "unk_token": "</s>",
            "pad_token": "<pad>",
        },
    ),
    "qwen2": (
        "qwen2",
        lambda f: byte_pairs(f, ["<|endoftext|>"]),
        {"unk_token": None, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    ),
    "roberta": ("roberta", lambda f: byte_pairs(f, ROBERTA), {}),
    "bart": ("bart", lambda f: byte_pairs(f, ROBERTA), {}),
    "t5": ("t5", lambda f: sentences(f, "spiece.model", **T5), {}),
    "mt5": ("mt5", lambda f: sentences(f, "spiece.model", **T5), {"extra_ids": 0}),
    "albert": ("albert", lambda f: sentences(f, "spiece.model", **ALBERT), {}),
    "deberta-v2": ("deberta-v2", lambda f: sentences(f, "spm.model", **DEBERTA), {}),
    "xlm-roberta": (
        "xlm-roberta",
        lambda f: sentences(f, "sentencepiece.bpe.model", **FAIRSEQ),
        {},
    ),
    "camembert": ("camembert", lambda f: sentences(f, "sentencepiece.bpe.model", **FAIRSEQ), {}),
    "mbart": ("mbart", lambda f: sentences(f, "sentencepiece.bpe.model", **FAIRSEQ), {}),
    "pegasus": ("pegasus", lambda f: sentences(f, "spiece.model", **PEGASUS), {}),
    "llama-begun": (
        "llama",
        lambda f: sentences(f, "tokenizer.model", **LLAMA),
        {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False},
    ),
    "bert-added": (
        "bert",
        added,
        {"do_lower_case": False, "mask_token": MASK},
    ),
    "gpt2-framed": (
        "gpt2",
        lambda f: byte_pairs(f, ["<|endoftext|>"]),
        {"add_bos_token": True, "add_eos_token": True, "pad_token": "<pad>"},
    ),
    "llama": ("llama", lambda f: sentences(f, "tokenizer.model", **LLAMA), {}),
    "gemma": ("gemma", lambda f: sentences(f, "tokenizer.model", **GEMMA), {}),
}


def make(name: str) -> None:
    kind, write, settings = FAMILIES[name]
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    write(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": kind}) + "\n")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")
    read = AutoTokenizer.from_pretrained(folder)
    expected = {
        "class": type(read).__name__,
        "texts": [read(t)["input_ids"] for t in TEXTS],
        "pairs": [
            [e["input_ids"], e.get("token_type_ids")] for e in (read(a, b) for a, b in PAIRS)
        ],
    }
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or FAMILIES:
        make(name)
