"""The grid of a checkpoint's 72 heads, beside the same run that draws nothing and marks none.

Pull it first: `qkv models pull minilm`.

    .venv/bin/python benchmarks/grid.py [--runs N]
"""

from __future__ import annotations

import argparse

from beside import run

TEXTS = {
    12: "The animal didn't cross the street because it was too tired",
    110: " ".join(["the fisherman sat on the bank of the river and watched the boat"] * 9),
}
LIMIT = 0.2  # seconds
UNDRAWN = """
import sys, typer, rich.console
from qkv_cli.loading import load
from qkv_cli.store.catalogue import find
layers = list(load(find("minilm")).read(sys.argv[1]).layers)
print(max(layer.attn.pattern.max() for layer in layers))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="pairs of runs for each figure")
    runs = parser.parse_args().runs
    kept = True
    for words, text in TEXTS.items():
        drawn = ["-m", "qkv_cli", "grid", "-m", "minilm", text, "--width", "120"]
        pairs = [(run(drawn)[0], run(["-c", UNDRAWN, text])[0]) for _ in range(runs)]
        with_grid, without = (min(seconds) for seconds in zip(*pairs, strict=True))
        more = with_grid - without
        kept &= more <= LIMIT
        print(f"qkv grid -m minilm ({words} words): {with_grid:.2f} s, {more:.2f} s of it for the")
        print(
            f"  picture and its marks (at most {LIMIT} s): {'kept' if more <= LIMIT else 'MISSED'}"
        )
    if not kept:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
