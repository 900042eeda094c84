"""Tokens a second in one process, every pattern of every layer kept, beside torch.

Both read the same ids with the same model, in turns, on the same cores; torch with transformers'
eager attention and `output_attentions`. PYTHON is an interpreter that has them. On a busy machine
`taskset -c 0` before it, and processor time, say more than the clock.

    .venv/bin/python benchmarks/steady.py --torch PYTHON [--runs N] [--model NAME]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from qkv_cli.store.catalogue import find

SHAPES = ((128, 8), (512, 1))  # tokens, texts
AT_LEAST = 1.0  # times torch's tokens a second
# Each reads "tokens texts" from stdin and answers with the seconds that it took, by the clock and
# of its processors.
OURS = """
import sys, time
from pathlib import Path
from qkv_cli.session.load import load
model = load(Path(sys.argv[1])).model
def patterns(texts):
    return [[layer.attn.pattern() for layer in model.layers(ids)] for ids in texts]
"""
THEIRS = """
import sys, time, torch
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1], attn_implementation="eager").eval()
def patterns(texts):
    with torch.no_grad():
        return model(torch.tensor(texts), output_attentions=True).attentions
"""
ANSWER = """
for line in sys.stdin:
    n_tokens, n_texts = map(int, line.split())
    texts = [[1000 + (37 * i + 11 * t) % 20000 for i in range(n_tokens)] for t in range(n_texts)]
    start, spent = time.perf_counter(), time.process_time()
    kept = patterns(texts)
    print(time.perf_counter() - start, time.process_time() - spent, flush=True)
    del kept
"""
PAUSE = 0.1  # seconds: the other's threads stop spinning


class Worker:
    def __init__(self, python: str, code: str, folder: str) -> None:
        self.child = subprocess.Popen(
            [python, "-c", code + ANSWER, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, n_tokens: int, n_texts: int) -> tuple[float, float]:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        time.sleep(PAUSE)
        print(n_tokens, n_texts, file=self.child.stdin, flush=True)
        clock, processors = map(float, self.child.stdout.readline().split())
        return clock, processors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", required=True, metavar="PYTHON")
    parser.add_argument("--runs", type=int, default=15, help="pairs of runs for each shape")
    parser.add_argument("--model", default="minilm")
    asked = parser.parse_args()
    folder = str(find(asked.model))
    workers = Worker(sys.executable, OURS, folder), Worker(asked.torch, THEIRS, folder)
    if kernel := os.environ.get("OPENBLAS_CORETYPE"):
        print(f"OPENBLAS_CORETYPE is {kernel}: numpy is held to its matrix products")
    missed = False
    for shape in SHAPES:
        for worker in workers:
            worker.seconds(*shape)
        pairs = [[worker.seconds(*shape) for worker in workers] for _ in range(asked.runs)]
        (ours, spent), (theirs, theirs_spent) = (
            [statistics.median(figures) for figures in zip(*side, strict=True)]
            for side in zip(*pairs, strict=True)
        )
        n_tokens, n_texts = shape
        ratio = theirs / ours
        missed |= ratio < AT_LEAST
        print(f"{n_tokens} tokens x {n_texts}: {n_tokens * n_texts / ours:,.0f} tokens a second")
        print(f"  torch: {n_tokens * n_texts / theirs:,.0f}")
        print(f"  processor time: {spent:.3f} s, torch {theirs_spent:.3f} s")
        verdict = "kept" if ratio >= AT_LEAST else "MISSED"
        print(f"  ratio {ratio:.2f} (at least {AT_LEAST}): {verdict}")
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
