"""What `qkv train` learns in so many minutes, and how fast.

The corpus is a text of yours, a sentence a line; the limit is for WordNet's glosses, as they are
described in the embedded model's README. What the full model must beat is printed beside it: the
same heads with uniform attention reach .49 there, and chance is .167.

    .venv/bin/python benchmarks/learning.py CORPUS [--minutes M]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile

AT_LEAST = 0.68


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--minutes", default="10")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        args = ["train", asked.corpus, "--minutes", asked.minutes, "--out", f"{scratch}/heads"]
        found = subprocess.run(
            [sys.executable, "-m", "qkv_cli", *args], check=True, stdout=subprocess.PIPE, text=True
        )
    print(found.stdout.replace(f"{scratch}/", ""), end="")
    accuracy = float(re.findall(r"six words: ([.\d]+)", found.stdout)[0])
    kept = accuracy >= AT_LEAST
    print(f"  {accuracy:.3f} (at least {AT_LEAST}): {'kept' if kept else 'MISSED'}")
    if not kept:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
