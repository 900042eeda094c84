"""Draw the pictures of the docs: `python docs/pictures.py`. What they show is what qkv prints."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent / "pictures"
FRUITS = "The mango and the apple are fruits that grow on a tree"
BANK = "The fisherman sat on the bank of the river"
PICTURES = {
    "attend": (124, ["attend", FRUITS]),
    "explain": (96, ["explain", BANK, "--query", "bank", "--key", "river"]),
}


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name, (width, args) in PICTURES.items():
        draw(name, width, args)


def draw(name: str, width: int, args: list[str]) -> None:
    """One command's output, in colour, as an SVG of a terminal."""
    look = ["--color", "always", "--background", "dark", "--width", str(width)]
    found = subprocess.run(
        [sys.executable, "-m", "qkv_cli", *args, *look],
        capture_output=True,
        text=True,
        check=True,
        env={"COLORTERM": "truecolor", "TERM": "xterm-256color", "PATH": "", "LANG": "C.UTF-8"},
    )
    console = Console(record=True, width=width, file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi(found.stdout), soft_wrap=False)
    said = " ".join(f'"{arg}"' if " " in arg else arg for arg in args)
    console.save_svg(str(HERE / f"{name}.svg"), title=f"qkv {said}", unique_id=f"qkv-{name}")


if __name__ == "__main__":
    main()
