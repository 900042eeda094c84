"""Long texts: time and memory of one map, compared with the bare arithmetic.

Peaks are given minus the peak at 512 words. The bare arithmetic is np.matmul and np.exp over
blocks of 256 rows. For --smollm2, pull the model first: `qkv models pull smollm2`.

    .venv/bin/python benchmarks/long.py [--smollm2]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from beside import run

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


def attend(folder: Path, n_words: int, *arguments: str) -> tuple[float, float]:
    draw, words = random.Random(0), PROSE.read_text(encoding="utf-8").split()
    path = folder / f"{n_words}.txt"
    path.write_text(" ".join(draw.choices(words, k=n_words)), encoding="utf-8")
    return run(["-m", "qkv_cli", "attend", "--file", str(path), *arguments])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smollm2", action="store_true", help="also 7,000 words in smollm2")
    with_smollm2 = parser.parse_args().smollm2
    kept = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, base = attend(folder, SHORT, "--head", "L0H3")
        peaks: dict[int, float] = {}
        for n_words, limit in ((MIDDLE, None), (LONG, 150), (BOOK, 350)):
            seconds, peak = attend(folder, n_words, "--head", "L0H3")
            peaks[n_words] = peak - base
            line = f"{n_words:,} words: {seconds:.1f} s, {peaks[n_words]:.0f} MiB"
            if n_words == LONG:
                bare, _ = run(["-c", BARE, str(LONG)])
                line += f", {seconds / bare:.2f} times the bare arithmetic (at most 1.5)"
                kept &= seconds <= 1.5 * bare
            kept &= limit is None or peaks[n_words] <= limit
            print(line + ("" if limit is None else f" (at most {limit} MiB)"))
        growth = peaks[LONG] / peaks[MIDDLE]
        print(f"from {MIDDLE:,} to {LONG:,} words: {growth:.1f} times the memory (at most 4.5)")
        kept &= growth <= 4.5
        if with_smollm2:
            seconds, peak = attend(folder, 7_000, "-m", "smollm2", "--head", "L29H3")
            print(f"smollm2, 7,000 words: {seconds:.0f} s, {peak:.0f} MiB in total (at most 700)")
            kept &= peak <= 700
    if not kept:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
