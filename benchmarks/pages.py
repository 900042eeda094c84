"""The page that `-o grid.html` writes: how large it is, and how soon a browser has drawn it.

12 layers x 12 heads of made-up weights, more even than a model's and so harder to compress, over
128 tokens and, without a limit, over 512. Needs chromium and chromedriver. Run with the interpreter
that `qkv` is installed for:

    .venv/bin/python benchmarks/pages.py [--runs N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.render.picture import picture_file
from qkv_cli.render.terminal.attend import attention

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "cli"))
from browser import Browser, browser  # noqa: E402

MB, SECONDS = 3.0, 2.0  # at most, at 128 tokens
LAYERS = HEADS = 12


def maps(n_tokens: int) -> HeadMaps:
    """Some heads look around, the others near themselves."""
    rng = np.random.default_rng(0)
    words = ((ROOT / "sample_texts" / "prose.txt").read_text("utf-8").split() * 9)[:n_tokens]
    tokens = [Token(i, word, word, i, 0, 0) for i, word in enumerate(words)]
    distance = np.abs(np.subtract.outer(np.arange(n_tokens), np.arange(n_tokens))) ** 0.5
    found = []
    for layer in range(LAYERS):
        for head in range(HEADS):
            scores = rng.normal(0, 1.5 + layer / 5, distance.shape) - 0.3 * (head % 4) * distance
            weights = np.exp(scores)
            pattern = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
            found.append(HeadMap(f"L{layer}H{head}", "self", layer, head, pattern))
    info = ModelInfo("made", "bert", LAYERS, HEADS, 768, 64, 30522, "made up")
    return HeadMaps(info, "softmax", False, " ".join(words), None, tokens, tokens, found)


def drawn(window: Browser, page: Path) -> float:
    """Seconds from the request of the page until all of it is drawn, by the browser's clock."""
    window.open(page)
    script = "return performance.getEntriesByName('drawn')[0].startTime"
    return float(window.run(script)) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often each page is opened")
    runs = parser.parse_args().runs
    kept = True
    with tempfile.TemporaryDirectory() as folder, browser() as window:
        for n_tokens in (128, 512):
            found = maps(n_tokens)
            start = time.perf_counter()
            data = picture_file(
                "html", [partial(attention, found)], palette="viridis", background="auto"
            )
            written = time.perf_counter() - start
            page = Path(folder) / f"{n_tokens}.html"
            page.write_bytes(data)
            opened = statistics.median(drawn(window, page) for _ in range(runs))
            size = len(data) / 1e6
            print(f"{LAYERS} layers x {HEADS} heads x {n_tokens} tokens: {size:.2f} MB, ", end="")
            print(f"written in {written:.2f} s, drawn {opened:.2f} s after it was opened")
            if n_tokens == 128:
                kept = size <= MB and opened <= SECONDS
                print(f"  at most {MB:g} MB and {SECONDS:g} s: {'kept' if kept else 'MISSED'}")
    if not kept:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
