"""Long texts and large checkpoints: time and memory of one map, and what bounds them.

Words: one head of the embedded model. Peaks are given minus the peak at 512 words, their growth
minus the peak at one word; the bare arithmetic is np.matmul and np.exp over blocks of 256 rows, on
one core.

--smollm2 reads 7,000 words, about 8,200 tokens; pull the model first: `qkv models pull smollm2`.
--large writes a Llama of 16 layers x 2,048 with random bfloat16 weights (2 GB), and the layout of
one of 48 layers x 6,144 as a sparse file, of which three layers are read. With --torch PYTHON, an
interpreter that has torch and transformers, a script that prints the same weights runs in turn.

    .venv/bin/python benchmarks/long.py [--smollm2] [--large [--torch PYTHON]] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import statistics
import tempfile
from pathlib import Path

import numpy as np
from beside import run
from checkpoint import SCRIPT, TEXT
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

PROSE = Path(__file__).parent.parent / "sample_texts" / "prose.txt"
SHORT, MIDDLE, LONG, BOOK = 512, 8_192, 32_768, 100_000
BARE = """
import os
import sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
n, rng = int(sys.argv[1]), np.random.default_rng(0)
q, k, v = (rng.normal(size=(n, 16)).astype(np.float32) for _ in "qkv")
for first in range(0, n, 256):
    scores = q[first : first + 256] @ k.T
    np.exp(scores, out=scores)
    scores @ v
"""
SHAPES = {  # layers, d_model, d_mlp, heads, key/value heads
    "llama": (16, 2048, 8192, 32, 8),
    "sparse": (48, 6144, 24576, 48, 48),
}
N_WORDS = 4096  # of their vocabularies


class Checks:
    """Prints each figure with its limit, and remembers whether all limits were kept."""

    def __init__(self) -> None:
        self.kept = True

    def __call__(self, name: str, value: float, limit: float, unit: str = "") -> None:
        is_kept = value <= limit
        self.kept &= is_kept
        print(f"{name}: {value:.4g}{unit} (at most {limit:g}){'' if is_kept else ': MISSED'}")


def write_words(folder: Path, n_words: int) -> Path:
    """Write words without punctuation, each of which is one token of the embedded model."""
    words = re.findall("[a-z]+", PROSE.read_text(encoding="utf-8").lower())
    path = folder / f"{n_words}.txt"
    path.write_text(" ".join(random.Random(0).choices(words, k=n_words)), encoding="utf-8")
    return path


def qkv(*arguments: str) -> tuple[float, float]:
    return run(["-m", "qkv_cli", *arguments])


def measure_words(folder: Path, check: Checks, runs: int) -> None:
    def attend(n_words: int) -> tuple[float, float]:
        return qkv("attend", "--file", str(write_words(folder, n_words)), "--head", "L0H3")

    start, base, middle, long, book = (attend(n)[1] for n in (1, SHORT, MIDDLE, LONG, BOOK))
    print(f"{MIDDLE:,} words: {middle - base:.0f} MiB")
    check(f"{LONG:,} words", long - base, 150, " MiB")
    check(f"{BOOK:,} words", book - base, 350, " MiB")
    # Without the peak of one word: 512 words keep the maps of all heads, longer texts do not.
    check(f"memory of {LONG:,} words / {MIDDLE:,}", (long - start) / (middle - start), 4.5)
    pairs = [(attend(LONG)[0], run(["-c", BARE, str(LONG)])[0]) for _ in range(runs)]
    seconds, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{LONG:,} words: {seconds:.1f} s; the bare arithmetic: {bare:.1f} s")
    check("ratio", seconds / bare, 1.5)


def measure_smollm2(folder: Path, check: Checks) -> None:
    text = ["-m", "smollm2", "--file", str(write_words(folder, 7_000))]
    last = ["--head", "L29H3"]
    for command, options in (
        ("attend", last),
        ("focus", [*last, "--query", "7000"]),
        ("heads", ["--shuffles", "0"]),
    ):
        seconds, peak = qkv(command, *text, *options)
        check(f"smollm2, 7,000 words, {command}, {seconds:.0f} s", peak, 700, " MiB in total")


def write_llama(folder: Path, name: str) -> str:
    """Write a checkpoint in bfloat16, with random weights, or none: a sparse file of zeros."""
    layers, d_model, d_mlp, heads, kv_heads = SHAPES[name]
    path, d_key = folder / name, d_model // heads * kv_heads
    path.mkdir()
    words = ["<unk>", *re.findall(r"\w+|[^\w\s]", TEXT)]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": d_model,
        "intermediate_size": d_mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": N_WORDS,
        "tie_word_embeddings": True,
    }
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shapes = {"model.embed_tokens": (N_WORDS, d_model), "model.norm": (d_model,)}
    for i in range(layers):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}self_attn.{x}_proj": (d_model, d_model) for x in "qo"}
        shapes |= {f"{layer}self_attn.{x}_proj": (d_key, d_model) for x in "kv"}
        shapes |= {f"{layer}mlp.{x}_proj": (d_mlp, d_model) for x in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj"] = (d_model, d_mlp)
        shapes |= {f"{layer}{x}_layernorm": (d_model,) for x in ("input", "post_attention")}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[f"{tensor}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    rng = np.random.default_rng(0)
    with (path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        if name == "sparse":
            file.truncate(8 + len(text) + end)
            return str(path)
        for shape in shapes.values():
            x = rng.standard_normal(math.prod(shape), dtype=np.float32) * np.float32(0.02)
            x = x + np.float32(len(shape) == 1)  # norms
            file.write((x.view(np.uint32) >> 16).astype("<u2").tobytes())
    return str(path)


def measure_large(folder: Path, check: Checks, torch: str | None, runs: int) -> None:
    llama = write_llama(folder, "llama")
    ours = ["attend", "-m", llama, TEXT, "--head", "L15H3"]
    check("Llama, 16 x 2,048, 2 GB", qkv(*ours)[1], 400, " MiB resident")
    if torch is not None:
        script = ["-c", SCRIPT, llama, TEXT]
        theirs = run(script, torch)[1]  # and the file is in the page cache
        pairs = [(qkv(*ours)[0], run(script, torch)[0]) for _ in range(runs)]
        seconds, beside = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{seconds:.1f} s; with transformers: {beside:.1f} s, {theirs:.0f} MiB")
        check("ratio", seconds / beside, 0.4)
    seconds, peak = qkv("attend", "-m", write_llama(folder, "sparse"), TEXT, "--head", "L2H3")
    check(f"Llama, 48 x 6,144, 55 GB, layer 2, {seconds:.0f} s", peak, 900, " MiB resident")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs that are timed")
    asked = parser.parse_args()
    check = Checks()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_words(folder, check, asked.runs)
        if asked.smollm2:
            measure_smollm2(folder, check)
        if asked.large:
            measure_large(folder, check, asked.torch, asked.runs)
    if not check.kept:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
