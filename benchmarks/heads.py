"""`qkv heads` over a file of sentences beside the bare forward pass over the same ones.

What it is compared with reads the same sentences with the same model and drops every layer as it
comes. Pull the model first: `qkv models pull minilm`.

    .venv/bin/python benchmarks/heads.py [--sentences N] [--runs N] [--model NAME]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from beside import Case, measure

from qkv_cli.store.catalogue import find

PROSE = Path(__file__).parent.parent / "sample_texts" / "prose.txt"
WORDS = 25  # of a sentence
FORWARD = """
import sys
from pathlib import Path
from qkv_cli.session.load import load
model = load(Path(sys.argv[1]))
for sentence in open(sys.argv[2], encoding="utf-8"):
    for layer in model.read(sentence.strip()).layers:
        pass
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    parser.add_argument("--model", default="minilm")
    asked = parser.parse_args()
    draw, words = random.Random(0), PROSE.read_text(encoding="utf-8").split()
    sentences = (" ".join(draw.choices(words, k=WORDS)) for _ in range(asked.sentences))
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(sentences) + "\n")
        file.flush()
        case = Case(
            f"qkv heads -m {asked.model} ({asked.sentences:,} sentences of {WORDS} words)",
            ["heads", "-m", asked.model, "--file", file.name, "--lines"],
            ["-c", FORWARD, str(find(asked.model)), file.name],
            "the forward pass alone",
            1 / 0.8,
            130,
        )
        if not measure(case, asked.runs):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
