"""Templates of pages, and the policy that says what may run in them."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from qkv_cli import __version__


def filled(template: str, *, style: str, script: str = "", **parts: str) -> bytes:
    """A template with its parts, and a policy that lets this style and script run and no other."""
    allowed = {"style-src": style, "script-src": script}
    policy = "; ".join(
        [
            "default-src 'none'",
            *(f"{what} 'sha256-{_hash(code)}'" for what, code in allowed.items() if code),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    parts |= {"style": style, "script": script, "policy": policy, "generator": f"qkv {__version__}"}
    whole = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read(template))
    return whole.encode()


def _hash(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def read(name: str) -> str:
    """A file that lies beside this one."""
    return (files(__package__) / name).read_text("utf-8")
