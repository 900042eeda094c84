"""Draw the pictures of the docs: `python docs/pictures.py`. What they show is what qkv prints."""

from __future__ import annotations

import html
import io
import re
import subprocess
import sys
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).parent / "pictures"
FRUITS = "The mango and the apple are fruits that grow on a tree"
BANK = "The fisherman sat on the bank of the river"
PICTURES = {
    "attend": (124, ["attend", FRUITS]),
    "explain": (96, ["explain", BANK, "--query", "bank", "--key", "river"]),
}
TERMINAL = TerminalTheme(
    background=(18, 17, 23),
    foreground=(222, 222, 226),
    # Of its own 16 colours only cyan and white are ever asked for.
    normal=[(18, 17, 23)] * 6 + [(95, 185, 200)] + [(222, 222, 226)],
)
# No window around it, and no font from elsewhere: a page that shows the file may not fetch one.
SVG = """\
<svg viewBox="0 0 {width} {terminal_height:.0f}" xmlns="http://www.w3.org/2000/svg">
<title>CALLED</title>
<style>
text {{ font: 20px "Fira Code", "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre }}
{styles}
</style>
<rect width="100%" height="100%" rx="10" fill="#121117"/>
<g transform="translate({terminal_x}, 14)">
{backgrounds}
{matrix}
</g>
</svg>
"""
_TEXT = re.compile(
    r'<text class="([^"]+)" x="([\d.]+)" y="([\d.]+)" textLength="[\d.]+" '
    r'clip-path="[^"]+">([^<]*)</text>\s*'
)
_COLUMN = 12.2  # how wide Rich draws one


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name, (width, args) in PICTURES.items():
        (HERE / f"{name}.svg").write_text(picture(name, width, args), "utf-8", newline="\n")


def picture(name: str, width: int, args: list[str]) -> str:
    """One command and its output, in colour, as an SVG."""
    said = "qkv " + " ".join(f'"{arg}"' if " " in arg else arg for arg in args)
    console = Console(record=True, width=width, file=io.StringIO(), color_system="truecolor")
    console.print(Text.assemble(("$ ", Style(dim=True)), (said, Style(bold=True))), soft_wrap=True)
    console.print(Text.from_ansi("\n" + output(width, args)))
    svg = console.export_svg(code_format=SVG, theme=TERMINAL, unique_id=f"qkv-{name}")
    return _TEXT.sub(_words, svg.replace("CALLED", html.escape(said)))


def output(width: int, args: list[str]) -> str:
    look = ["--color", "always", "--background", "dark", "--width", str(width)]
    return subprocess.run(
        [sys.executable, "-m", "qkv_cli", *args, *look],
        capture_output=True,
        text=True,
        check=True,
        env={"COLORTERM": "truecolor", "TERM": "xterm-256color", "PATH": "", "LANG": "C.UTF-8"},
    ).stdout


def _words(match: re.Match[str]) -> str:
    """Each word in its own place: not every program keeps the blanks before and between words."""
    style, x, y, text = match.groups()
    plain = html.unescape(text).replace("\xa0", " ")
    drawn = []
    for word in re.finditer(r"\S+", plain):
        at = float(x) + _COLUMN * cell_len(plain[: word.start()])
        long = _COLUMN * cell_len(word[0])
        drawn.append(
            f'<text class="{style}" x="{at:.1f}" y="{y}" textLength="{long:.1f}">'
            f"{html.escape(word[0], quote=False)}</text>\n"
        )
    return "".join(drawn)


if __name__ == "__main__":
    main()
