"""Make the golden files again: `python tests/golden/make.py all`, or some names in `SCRIPTS`.

Arguments after a single name are passed on: `python tests/golden/make.py checkpoints bert gpt2`.
README.md says what each script writes and what it needs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = {  # in the order in which they depend on each other
    "checkpoints": "make_checkpoints.py",
    "config_edits": "config_edits.py",
    "settings": "settings.py",
    "pieces": "make_pieces.py",
    "tokenizers": "tokenizers/make.py",
    "rebuilt": "tokenizers/make_rebuilt.py",
    "translators": "make_translators.py",
    "gguf": "gguf/make.py",
    "objective": "training/make.py",
}


def main() -> None:
    first, *remaining = sys.argv[1:] or [""]
    if first == "all":
        names, arguments = list(SCRIPTS), list[str]()
    elif first in SCRIPTS and not set(remaining) & set(SCRIPTS):
        names, arguments = [first], remaining
    else:
        names, arguments = [first, *remaining], []
    if unknown := [name for name in names if name not in SCRIPTS]:
        sys.exit(f"Unknown golden files {unknown[0]!r}: use all, {', '.join(SCRIPTS)}.")
    for name in names:
        subprocess.run([sys.executable, HERE / SCRIPTS[name], *arguments], check=True)


if __name__ == "__main__":
    main()
