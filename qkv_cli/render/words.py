"""How the tokens of one text are called in a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.cells import cell_len

from qkv_cli.core.tokens import Token
from qkv_cli.render.cells import ELLIPSIS, clusters, label

UNKNOWN = "?"
_JOINERS = "\u200c\u200d\ufe0f"
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def word(token: Token, width: int | None = None) -> str:
    """A token's label; a question mark behind it says that the model does not know it."""
    if not token.unknown:
        return label(token.name, width)
    return label(token.name, None if width is None else max(0, width - 1)) + UNKNOWN[:width]


def spelled(token: Token, length: int | None = None) -> str:
    """A token's text where fonts are real: as it was written, joined emoji and accents whole.

    What acts or is invisible is shown as in `word`.
    """
    text = token.name
    shown = "".join(
        c if c in _JOINERS or (c.isprintable() and c != " ") else label(c) for c in text
    )
    if not shown.strip(_JOINERS):
        shown = label(text)
    if length is not None and len(shown) > length:
        shown = shown[: length - 1] + ELLIPSIS
    return shown + UNKNOWN * token.unknown


def widest(tokens: Sequence[Token]) -> int:
    return max(cell_len(word(token)) for token in tokens)


def downwards(token: Token, height: int) -> list[str]:
    """A token's signs from top to bottom, as many as `height`, standing on the map."""
    signs = clusters(token.name) + [UNKNOWN] * token.unknown
    if len(signs) > height:
        signs = [*signs[: height - 1], "⋮" if height > 1 else ELLIPSIS]
    return [""] * (height - len(signs)) + signs


def told_apart(tokens: Sequence[Token], width: int) -> list[str]:
    """Words for a sentence: those that stand more than once bear their place."""
    return apart(tokens, [word(token, width) for token in tokens])


def apart(tokens: Sequence[Token], said: Sequence[str]) -> list[str]:
    """What tokens are called, with its place behind each that is called as another is."""
    often = Counter(text.casefold() for text in said)
    return [
        text + str(token.i).translate(_SUBSCRIPT) if often[text.casefold()] > 1 else text
        for token, text in zip(tokens, said, strict=True)
    ]
