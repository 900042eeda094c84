"""Real checkpoints beside a script that does the same with transformers.

Pull them first: `qkv models pull minilm smollm2`. PYTHON is an interpreter that has torch and
transformers.

    .venv/bin/python benchmarks/checkpoint.py --torch PYTHON [--runs N]
"""

from __future__ import annotations

import argparse

from beside import Case, measure, run

from qkv_cli.store.catalogue import find

TEXT = "The animal didn't cross the street because it was too tired"
PROMPT = "The capital of France is the city of Paris, and the river that flows through it is the"
SCRIPT = """
import sys, torch
from transformers import AutoModel, AutoTokenizer
folder, text = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModel.from_pretrained(folder, attn_implementation="eager")
with torch.no_grad():
    found = model(**tokenizer(text, return_tensors="pt"), output_attentions=True)
print(found.attentions[-1][0].tolist())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", required=True, metavar="PYTHON")
    parser.add_argument("--runs", type=int, default=5, help="pairs of runs")
    asked = parser.parse_args()
    case = Case(
        "qkv attend -m minilm",
        ["attend", "-m", "minilm", TEXT],
        ["-c", SCRIPT, str(find("minilm")), TEXT],
        "the same with transformers",
        1 / 15,
        130,
        asked.torch,
    )
    kept = measure(case, asked.runs)
    command = ["-m", "qkv_cli", "attend", "-m", "smollm2", PROMPT, "--head", "0"]
    run(command)
    seconds, peak = min(run(command) for _ in range(asked.runs))
    fits = seconds <= 3 and peak <= 700
    print(f"qkv attend -m smollm2 (20 tokens, 30 layers): {seconds:.2f} s, {peak:.0f} MiB")
    print(f"  (at most 3 s and 700 MiB): {'kept' if fits else 'MISSED'}")
    if not (kept and fits):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
