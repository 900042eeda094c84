"""Safe output: text is escaped, and characters that the encoding lacks get stand-ins."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from qkv_cli.visible import visible

_SAME_WIDTH = {
    **dict(zip("→←·×…⋮‖─│≡", "><.x~:|-|=", strict=True)),
    **dict(zip("▁▂▃▄▅▆▇█", "_.,-~+*#", strict=True)),  # a sparkline's heights, a bar
    **dict(zip("▏▎▍▌▋▊▉▒", "..||###=", strict=True)),  # a bar's end, a negative bar
}
_WIDER = {"√": "sqrt ", "Σ": "sum", "∞": "inf", "±": "+/-"}


@dataclass(frozen=True, slots=True)
class Charset:
    """An encoding, and the stand-ins for characters that it lacks."""

    encoding: str

    def has(self, text: str) -> bool:
        """Whether every character of the text can be written."""
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def replaced(self, parts: Iterable[str]) -> Iterator[str]:
        """Yield the parts of a text, with stand-ins.

        A stand-in that is wider than its character replaces spaces of its line: those before it
        for ∞, the end of a right-aligned number, and those after it for other characters.
        """
        owed = 0  # columns to take from later spaces
        for part in parts:
            if not owed and self.has(part):
                yield part
                continue
            result = ""
            for piece in re.split("(\n| {3,})", part):
                if piece == "\n":
                    owed = 0
                elif piece.isspace():
                    taken = min(owed, len(piece) - 2)
                    owed -= taken
                    piece = piece[taken:]
                else:
                    replacement = "".join(map(self._stand_in, piece))
                    extra = max(0, cell_len(replacement) - cell_len(piece))
                    if piece.endswith("∞"):
                        result = result[: len(result) - extra]
                    else:
                        owed += extra
                    piece = replacement
                result += piece
            yield result

    def _stand_in(self, char: str) -> str:
        if self.has(char):
            return char
        if char in _SAME_WIDTH:
            return _SAME_WIDTH[char]
        if char in _WIDER:
            return _WIDER[char]
        decomposed = unicodedata.normalize("NFKD", char)  # é: e and an accent
        base = "".join(c for c in decomposed if not unicodedata.combining(c))
        if not base:
            return ""
        return base if len(base) == 1 and self.has(base) else "?" * cell_len(char)


UTF_8 = Charset("utf-8")


@dataclass(frozen=True, slots=True)
class Safe:
    """A picture with its text escaped, and stand-ins for characters that `charset` lacks."""

    picture: RenderableType
    charset: Charset

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        segments = [s for s in console.render(self.picture, options) if s.control is None]
        texts = self.charset.replaced(visible(s.text, keep="\n") for s in segments)
        yield from (Segment(text, s.style) for text, s in zip(texts, segments, strict=True))
