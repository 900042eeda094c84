"""Drawing a text of 512 words at 80 columns, beside the same run that draws nothing.

What it is compared with reads the same text with the same model and keeps every pattern, so
the ratio is the price of the picture. Run with the interpreter that `qkv` is installed for:

    .venv/bin/python benchmarks/drawing.py [--runs N]
"""

from __future__ import annotations

import argparse

from beside import Case, measure

SENTENCE = "the fisherman sat on the bank of the river and the boat lay at the shore ; "
TEXT = " ".join((SENTENCE * 31).split()[:512])
UNDRAWN = f"""
import typer, rich.console
from qkv_cli.session.load import load
from qkv_cli.store.catalogue import find
[layer] = load(find("glove")).read({TEXT!r}).layers
layer.attn.pattern().max()
"""
LOOK = ["--width", "80", "--background", "dark"]
CASES = [
    Case(
        "qkv attend (512 words, 8 heads, 80 columns)",
        ["attend", TEXT, *LOOK, "--color", "always"],
        ["-c", UNDRAWN],
        "the same without a picture",
        1.6,
        130,
    ),
    Case(
        "qkv attend --mean (512 words, without colour)",
        ["attend", TEXT, *LOOK, "--mean", "--color", "never"],
        ["-c", UNDRAWN],
        "the same without a picture",
        1.6,
        130,
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21, help="pairs of runs for each ratio")
    runs = parser.parse_args().runs
    kept = [measure(case, runs) for case in CASES]
    if not all(kept):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
