"""Defaults of a token."""

from __future__ import annotations

from qkv_cli.core.tokens import Token


def test_token_without_flags_is_known_ordinary_token_of_first_segment() -> None:
    token = Token(0, "Bank", "bank", 7, 0, 4)
    assert (token.special, token.unknown, token.segment) == (False, False, 0)
