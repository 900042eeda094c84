"""Escaping of control and invisible characters.

Everything that is printed or drawn passes through `visible`: messages, terminal pictures, drawings
and pages. Only machine-readable output (JSON, NPZ) contains text unchanged, escaped as its format
requires.
"""

from __future__ import annotations

# Characters that only join or order the characters around them.
_HARMLESS = frozenset("\u200c\u200d\u200e\ufe0e\ufe0f")
_GAP = " ... "


def visible(text: str, limit: int | None = None, *, keep: str = "") -> str:
    """Return a text with escapes for its control, bidirectional and invisible characters.

    Args:
        limit: The maximum length; longer text is shortened in the middle.
        keep: Characters that stay, such as a newline.
    """
    if not text.isprintable():
        text = "".join(c if is_visible(c) or c in keep else _escaped(c) for c in text)
    if limit is not None and len(text) > limit:
        end = (limit - len(_GAP)) // 2
        text = text[: limit - len(_GAP) - end] + _GAP + text[-end:]
    return text


def is_visible(character: str) -> bool:
    """Whether a character can be shown as it is."""
    return character.isprintable() or character in _HARMLESS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
