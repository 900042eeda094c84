"""Predictions of the next token as the JSON document `qkv.next/1` of docs/next.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from qkv_cli.analysis.next import Next, Odds
from qkv_cli.core.tokens import Token
from qkv_cli.errors import InputError
from qkv_cli.export.document import dumps, head
from qkv_cli.export.parse import about_of, check_schema

SCHEMA = "qkv.next/1"
READINGS = ("before", "after")


def next_json(prediction: Next) -> str:
    """Return one line of JSON."""
    odds = prediction.odds
    readings = READINGS[: len(odds.probability)]
    tokens = []
    for i, token in enumerate(prediction.tokens):
        fields = {
            "id": token.id,
            "token": token.token,
            "text": token.text,
            "special": token.special,
        }
        tokens.append(
            fields
            | {
                name: {"probability": float(p[i]), "rank": int(rank[i])}
                for name, p, rank in zip(readings, odds.probability, odds.rank, strict=True)
            }
        )
    return dumps(
        head(prediction.about)
        | {
            "schema": SCHEMA,
            "d_vocab": odds.n_tokens,
            "next": tokens,
            "rest": dict(zip(readings, odds.rest.tolist(), strict=True)),
            "divergence": odds.divergence,
        }
    )


def read_next(document: dict[str, Any]) -> Next:
    """Read a document of `next_json`.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    check_schema(document, "next")
    readings = [name for name in READINGS if name in document["rest"]]
    items = document["next"]
    if any([name for name in READINGS if name in item] != readings for item in items):
        raise InputError('a token of "next" and "rest" differ in having "before" and "after".')
    if (document["divergence"] is None) == (len(readings) == 2):
        raise InputError('"divergence" needs both "before" and "after", and is null without.')
    tokens = [
        Token(
            i=0,
            text=item["text"],
            token=item["token"],
            id=item["id"],
            start=0,
            end=0,
            special=item["special"],
        )
        for item in items
    ]
    probability, rank = (
        np.array([[item[name][figure] for item in items] for name in readings])
        for figure in ("probability", "rank")
    )
    rest_probability = np.array([document["rest"][name] for name in readings])
    odds = Odds(
        ids=[token.id for token in tokens],
        probability=probability,
        rank=rank,
        rest=rest_probability,
        n_tokens=document["d_vocab"],
        divergence=document["divergence"],
    )
    return Next(about_of(document), tokens, odds)
