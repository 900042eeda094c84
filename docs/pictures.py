"""Draw the pictures of the docs: `python docs/pictures.py`. What they show is what qkv makes.

One is what a terminal shows, the others are what `-o` writes. That of the page in a browser needs
chromium and chromedriver; without them it stays as it is.
"""

from __future__ import annotations

import html
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).parent / "pictures"
FRUITS = "The mango and the apple are fruits that grow on a tree"
BANK = "The fisherman sat on the bank of the river"
MONEY = "She deposited the money in the bank"
IN_TERMINAL = {"attend": (124, ["attend", FRUITS])}
WRITTEN = {
    "head": ["attend", BANK, "--head", "7", "--numbers"],
    "grid": ["grid", FRUITS],
    "focus": ["focus", BANK, "--query", "bank"],
    "heads": ["heads", FRUITS, "--sort", "previous", "--width", "110"],
    "compare": ["compare", MONEY, "L0H1", "L0H3"],
    "nearest": ["compare", MONEY, "--nearest", "L0H3"],
    "explain": ["explain", BANK, "--query", "bank", "--key", "river", "--width", "96"],
}
TERMINAL = TerminalTheme(
    background=(18, 17, 23),
    foreground=(222, 222, 226),
    normal=[(18, 17, 23)] * 6 + [(95, 185, 200)] + [(222, 222, 226)],  # cyan and white are used
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
    for name, (width, args) in IN_TERMINAL.items():
        (HERE / f"{name}.svg").write_text(picture(name, width, args), "utf-8", newline="\n")
    for name, args in WRITTEN.items():
        qkv(*args, "-o", str(HERE / f"{name}.svg"))
    page(HERE / "page.png")


def page(image: Path) -> None:
    """The page of all heads as it is when a word has been clicked."""
    sys.path.append(str(HERE.parents[1] / "tests" / "cli"))
    import browser

    if not (browser.CHROMIUM and browser.DRIVER):
        sys.stderr.write(f"{image} stays as it is: there is no chromium or no chromedriver\n")
        return
    with tempfile.TemporaryDirectory() as folder, browser.browser() as window:
        qkv("attend", FRUITS, "-o", f"{folder}/page.html")
        window.prefer(prefers_reduced_motion="reduce")
        window.open(Path(folder) / "page.html")
        window.press("Right")
        window.click("query-1")
        window.screenshot(image)


def picture(name: str, width: int, args: list[str]) -> str:
    """One command and its output, in colour, as an SVG."""
    said = "qkv " + " ".join(f'"{arg}"' if " " in arg else arg for arg in args)
    console = Console(record=True, width=width, file=io.StringIO(), color_system="truecolor")
    console.print(Text.assemble(("$ ", Style(dim=True)), (said, Style(bold=True))), soft_wrap=True)
    console.print(Text.from_ansi("\n" + output(width, args)))
    svg = console.export_svg(code_format=SVG, theme=TERMINAL, unique_id=f"qkv-{name}")
    return _TEXT.sub(_words, svg.replace("CALLED", html.escape(said)))


def output(width: int, args: list[str]) -> str:
    return qkv(*args, "--color", "always", "--background", "dark", "--width", str(width))


def qkv(*args: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "qkv_cli", *args],
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
