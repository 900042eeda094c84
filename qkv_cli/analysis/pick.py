"""Which tokens are meant by a word or an index."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError

MAX_LISTED = 40


def pick(what: str, asked: str, tokens: Sequence[Token]) -> list[int]:
    """Where in a list of tokens an index, negative from the end, or a word in any case is.

    A number is an index where there is such a token, else a word; `=3` is always the word.
    What is left out of a list leaves the indices of the others as they were.

    Args:
        what: "query" or "key", for the message.

    Raises:
        UsageError: There is none; the message names the near miss and lists the tokens.
    """
    if re.fullmatch(r"-[0-9]{1,18}", asked) and int(asked) >= -len(tokens):
        return [int(asked) % len(tokens)]
    if _is_index(asked) and (at := [p for p, t in enumerate(tokens) if t.i == int(asked)]):
        return at
    wanted = asked.removeprefix("=") if len(asked) > 1 else asked
    if found := _called(wanted, tokens):
        return found
    spellings = {_plain(token.word): token.word for token in tokens}
    near = difflib.get_close_matches(_plain(wanted), spellings, n=1)
    hint = f" Did you mean {spellings[near[0]]!r}?" if near else ""
    listed = ", ".join(f"{t.i} {t.word}" for t in tokens[:MAX_LISTED])
    more = f" and {len(tokens) - MAX_LISTED} more" if len(tokens) > MAX_LISTED else ""
    raise UsageError(
        f"--{what} {wanted!r} is neither a word nor an index here.{hint} Words: {listed}{more}."
    )


def same_word(asked: str, tokens: Sequence[Token]) -> list[int]:
    """Where a number that was read as an index also stands as a word."""
    return _called(asked, tokens) if _is_index(asked) else []


def _is_index(asked: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", asked) is not None


def _called(wanted: str, tokens: Sequence[Token]) -> list[int]:
    plain = _plain(wanted)
    if not plain:  # special tokens stand for nothing written
        return []
    return [p for p, t in enumerate(tokens) if plain in (_plain(t.text), _plain(t.token))]


def _plain(text: str) -> str:
    return text.strip().casefold()
