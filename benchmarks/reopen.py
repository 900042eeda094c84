"""A model of 400,000 vectors of 50 numbers, opened again, beside the embedded one.

Writes the vectors as a GloVe file, has `qkv models add` make a model of it (whose time is
printed), and runs the same sentence through both models in turns.

    .venv/bin/python benchmarks/reopen.py [--runs N] [--words N]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from itertools import chain
from pathlib import Path

import numpy as np
from beside import Case, measure, run

TEXT = "The mango and the apple are sweet fruits that grow on a tree"
D_MODEL = 50


def write(path: Path, n_words: int) -> None:
    """Row by row: a child's peak of memory counts what its parent had when it began."""
    rng = np.random.default_rng(0)
    known = dict.fromkeys(TEXT.lower().split())
    with path.open("w") as file:
        for word in chain(known, (f"word{i}" for i in range(n_words - len(known)))):
            file.write(f"{word} {' '.join(f'{x:.5f}' for x in rng.normal(size=D_MODEL))}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21, help="pairs of runs")
    parser.add_argument("--words", type=int, default=400_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["QKV_HOME"] = scratch
        vectors = Path(scratch) / "vectors.txt"
        write(vectors, asked.words)
        seconds, peak = run(["-m", "qkv_cli", "models", "add", "big", "--vectors", str(vectors)])
        size = vectors.stat().st_size / 2**20
        print(
            f"qkv models add, once: {seconds:.1f} s for {size:.0f} MiB, {peak:.0f} MiB at the peak"
        )
        ours = ["attend", TEXT, "-m", "big", "--head", "0"]
        theirs = ["-m", "qkv_cli", "attend", TEXT, "--head", "0"]
        name = f"qkv attend -m big ({asked.words:,} x {D_MODEL})"
        if not measure(Case(name, ours, theirs, "the embedded model", 1.3), asked.runs):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
