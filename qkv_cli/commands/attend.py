"""`qkv attend`: who looks at whom."""

from __future__ import annotations


def attend(text: str) -> None:
    """Show how strongly each word attends to every other."""
