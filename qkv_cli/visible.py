"""Text from anywhere as it may be shown: nothing in it acts, and nothing in it is hidden.

Whatever is printed or drawn goes through `visible` where it leaves the program: messages, pictures
of the terminal, drawings and pages. Only machine-readable output (JSON, NPZ) keeps a text as it
is, escaped as its format says.
"""

from __future__ import annotations

# What only joins or orders the characters around it.
_HARMLESS = frozenset("\u200c\u200d\u200e\ufe0e\ufe0f")
_GAP = " ... "


def visible(text: str, limit: int | None = None, *, keep: str = "") -> str:
    """Return a text with escapes for its control, bidirectional and invisible characters.

    Args:
        limit: A longer text is cut in its middle to this many characters.
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
