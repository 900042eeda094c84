"""What transformers makes of a tokenizer.json next to settings, by the class that it chooses.

Run by hand after make.py where transformers is installed:
`python tests/golden/tokenizers/make_rebuilt.py`. Writes rebuilt/BASE.json, the tokenizer.json of
some families of make.py as transformers saves it, and rebuilt/cases.json: changes to such a file,
settings next to it, the class, and the ids of each of `TEXTS`.
Made with the versions that `../checkpoints/versions.txt` names.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer

HERE = Path(__file__).parent
OUT = HERE / "rebuilt"
TEXTS = [
    "The river BANK was muddy, after İstanbul's rain.",
    "naïve cafe\u0301 Å A\u030a",
    "東京 and 中文",
    "👍🏽 👩\u200d🚀 🇩🇪",
    " leading, trailing ",
    "two  blanks\t\tand\n\nlines",
    "don't 123456 3.14 a_b",
    "https://example.org/a?b=c#d",
    "[CLS] the [MASK] <s> </s> <mask> <|endoftext|> <extra_id_1> en_XX <new> [UNK]",
    "▁ under",
    "river<s>bank</s>the<|endoftext|>MUD[SEP]mud",
    "",
    " ",
]
PREPEND = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
DIGITS = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
    ],
}
LOWER = {"type": "Lowercase"}
NEW = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
BEGUN = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [
        {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    ],
    "special_tokens": {
        "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
    },
}
# Base, model_type, changes to tokenizer.json, tokenizer_config.json, more of config.json.
Case = tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any]]


def named(name: str, **settings: Any) -> dict[str, Any]:
    return {"tokenizer_class": name, **settings}


def cases() -> list[Case]:
    result: list[Case] = []

    def add(
        base: str,
        kind: str,
        settings: dict[str, Any] | None = None,
        changes: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        result.append((base, kind, changes or {}, settings or {}, config or {}))

    for lower in (True, False):
        for accents in (None, True, False):
            add("bert", "bert", {"do_lower_case": lower, "strip_accents": accents})
    add("bert", "distilbert", {"tokenize_chinese_chars": False}, {"normalizer": None})
    add("bert", "bert", named("PreTrainedTokenizerFast"), {"normalizer": None})
    add("bert", "electra", named("ElectraTokenizerFast", do_lower_case=False))
    add("bert", "bert", {}, {}, named("PreTrainedTokenizerFast"))
    add("bert", "mpnet", {"cls_token": "[CLS]", "sep_token": "[SEP]"})
    add("bert", "bert", {"split_special_tokens": True, "cls_token": "[CLS]"})
    plain = {"4": {**NEW, "content": "[MASK]", "special": False}}
    add("bert", "bert", {"split_special_tokens": True, "added_tokens_decoder": plain})
    add("bert", "modernbert", named("BertTokenizer"), {"normalizer": LOWER})
    for kind in ("gpt2", "gpt_neox", "llama", "bloom", "falcon", "phi", "olmo2", "smollm3"):
        add("gpt2", kind, {}, {"pre_tokenizer": DIGITS})
    for name in ("GPT2Tokenizer", "CodeGenTokenizer", "Qwen2TokenizerFast", "LlamaTokenizerFast"):
        add("gpt2", "llama", named(name), {"pre_tokenizer": DIGITS})
    add("gpt2", "phi", named("CodeGenTokenizer", add_prefix_space=True))
    add("gpt2", "gpt2", {"add_prefix_space": True, "add_bos_token": True})
    add("gpt2", "gpt2", {"add_bos_token": True}, {"post_processor": BEGUN})
    add("gpt2", "gpt_neox", {"add_bos_token": True}, {"post_processor": BEGUN})
    add("gpt2", "granite", named("GPT2Tokenizer"), {"pre_tokenizer": DIGITS})
    add("gpt2", "gpt2", named("OPTTokenizer"), {"pre_tokenizer": DIGITS})
    add("gpt2", "gpt2", {"extra_special_tokens": ["<new>"], "image_token": "the"})
    add("roberta", "roberta", {"add_prefix_space": True}, {"pre_tokenizer": DIGITS})
    add("roberta", "bart", named("BartTokenizer"), {"normalizer": LOWER})
    add("qwen2", "qwen2", named("LlamaTokenizer"), {"normalizer": None, "pre_tokenizer": DIGITS})
    add("qwen2", "qwen3", {"add_prefix_space": True}, {"normalizer": None})
    end = {"0": {**NEW, "content": "<|endoftext|>", "lstrip": True}}
    add("qwen2", "qwen3", {"added_tokens_decoder": end})
    add("gpt2", "gpt2", {"added_tokens_decoder": end})
    old = {"normalizer": PREPEND, "pre_tokenizer": None}
    for legacy in ({}, {"legacy": True}, {"legacy": False}):
        add("llama", "llama", legacy, old)
        add("llama", "llama", named("LlamaTokenizerFast", **legacy), old)
        add("llama", "mistral", named("LlamaTokenizerFast", **legacy), old)
    add("llama", "llama", named("LlamaTokenizer", add_prefix_space=False), old)
    add("llama", "llama", named("LlamaTokenizer", add_bos_token=True, add_eos_token=True), old)
    add("llama", "llama", named("CodeLlamaTokenizer"), old)
    add("llama", "gemma", {"unk_token": "<unk>"}, {"normalizer": LOWER})
    add("llama", "phi3", named("LlamaTokenizerFast"), old)
    add("albert", "albert", {"do_lower_case": False, "keep_accents": True})
    add("albert", "albert", {"add_prefix_space": False}, {"normalizer": LOWER})
    add("deberta-v2", "deberta-v2", {"do_lower_case": True, "split_by_punct": True})
    add("deberta-v2", "deberta-v2", {"add_prefix_space": False}, {"pre_tokenizer": None})
    add("xlm-roberta", "xlm-roberta", {}, {"normalizer": LOWER})
    add("xlm-roberta", "xlm-roberta", {"add_prefix_space": False})
    add("xlm-roberta", "camembert", named("CamembertTokenizer"))
    add("mbart", "xlm-roberta", named("MBart50Tokenizer", src_lang="ro_RO"))
    add("mbart", "xlm-roberta", named("MBartTokenizer"), {"normalizer": LOWER})
    add("mt5", "t5", {"extra_ids": 3}, {"pre_tokenizer": None})
    add("mt5", "umt5", named("T5Tokenizer"), {"normalizer": LOWER})
    add("mt5", "pegasus", {"offset": 3, "mask_token": None, "mask_token_sent": None})
    return result


def bases() -> dict[str, dict[str, Any]]:
    documents = {}
    for base in dict.fromkeys(case[0] for case in cases()):
        with tempfile.TemporaryDirectory() as folder:
            AutoTokenizer.from_pretrained(HERE / base).save_pretrained(folder)
            documents[base] = json.loads((Path(folder) / "tokenizer.json").read_text("utf-8"))
            if base == "gpt2":  # a word that its pieces do not merge to
                documents[base]["model"]["vocab"]["Ġmuddy"] = len(documents[base]["model"]["vocab"])
    return documents


def main() -> None:
    transformers.logging.set_verbosity_error()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    base_documents, rows = bases(), []
    for base, document in base_documents.items():
        (OUT / f"{base}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
    for base, kind, changes, settings, config in cases():
        with tempfile.TemporaryDirectory() as name:
            folder, document = Path(name), copy.deepcopy(base_documents[base]) | changes
            (folder / "tokenizer.json").write_text(json.dumps(document))
            (folder / "tokenizer_config.json").write_text(json.dumps(settings))
            (folder / "config.json").write_text(json.dumps({"model_type": kind, **config}))
            read = AutoTokenizer.from_pretrained(folder)
            row = {"base": base, "kind": kind, "changes": changes, "settings": settings}
            row |= {"config": config, "class": type(read).__name__}
            rows.append(row | {"ids": [read(text)["input_ids"] for text in TEXTS]})
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    texts = json.dumps(TEXTS, separators=(",", ":"))
    (OUT / "cases.json").write_text(f'{{"texts":{texts},"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
