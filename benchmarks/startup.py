"""Start-up of `qkv` beside the bare imports it cannot do without.

Run with the interpreter that `qkv` is installed for:

    .venv/bin/python benchmarks/startup.py [--runs N]
"""

from __future__ import annotations

import argparse

from beside import Case, measure

TEXT = "The mango and the apple are sweet fruits that grow on a tree"  # 13 words
IMPORTS = "import numpy, typer, rich.console, tokenizers"


def imports(code: str) -> tuple[list[str], str]:
    return ["-c", code], f"python -c '{code}'"


CASES = [
    Case("qkv --help", ["--help"], *imports("import typer, rich.console"), 2.0),
    Case(
        "qkv attend (13 words)",
        ["attend", TEXT, "--color", "always"],
        *imports(IMPORTS),
        1.8,
        80,
    ),
    Case("qkv attend --json (13 words)", ["attend", TEXT, "--json"], *imports(IMPORTS), 1.8, 80),
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
