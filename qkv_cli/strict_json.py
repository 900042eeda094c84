"""JSON from files and servers, read as RFC 8259 defines it; every fault is a `ValueError`."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

# Half of a surrogate pair may be written as an escape; such text cannot be encoded again.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str | bytes, *, allow_surrogates: bool = False) -> Any:
    """Return the value of a JSON text.

    Args:
        text: A string, or UTF-8 bytes.
        allow_surrogates: Accept strings with half of a surrogate pair, which our own documents
            have where a text has bytes that are not UTF-8.

    Raises:
        ValueError: The text is not valid JSON or not valid UTF-8; an object has the same key
            twice; a number is NaN, infinite or too long for Python; the nesting is too deep; a
            string holds half of a surrogate pair. The message is one line.
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
