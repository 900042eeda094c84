"""Strict parsing of JSON from files and servers (RFC 8259); all errors are `ValueError`."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

# An unpaired surrogate can be written as an escape, but cannot be encoded.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str | bytes, *, allow_surrogates: bool = False) -> Any:
    """Return the value of a JSON text.

    Args:
        text: A string, or UTF-8 bytes.
        allow_surrogates: Accept unpaired surrogates, which qkv's documents contain for text that
            is not valid UTF-8.

    Raises:
        ValueError: The text is not valid JSON or not valid UTF-8; an object has the same key
            twice; a number is NaN, infinite or too long for Python; the nesting is too deep; a
            string contains an unpaired surrogate. The message is one line.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not allow_surrogates and _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("a string contains an unpaired surrogate") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"duplicate key {key[:40]!r}")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
