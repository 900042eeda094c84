"""A study of heads as the JSON document `qkv.heads/1` of docs/heads.md, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from qkv_cli.analysis.labels import Evidence
from qkv_cli.analysis.measure import NAMES
from qkv_cli.analysis.study import FIGURES, Extent, HeadStatistics
from qkv_cli.errors import InputError
from qkv_cli.export.document import dumps, head
from qkv_cli.export.parse import about_of, check_schema
from qkv_cli.maps.head_maps import HeadMaps

SCHEMA = "qkv.heads/1"
CSV_COLUMNS = ("name", "block", "layer", "head", *FIGURES, "labels")


def heads_json(about: HeadMaps, extent: Extent, heads: Sequence[HeadStatistics]) -> str:
    """Return one line of JSON, with unrounded numbers; missing statistics are null.

    Args:
        about: The model and the options of the reading; its texts and maps are not used.
    """
    document = head(about) | {"schema": SCHEMA}
    for one_text in ("text", "queries", "keys"):
        del document[one_text]
    return dumps(
        document
        | {
            "texts": extent.n_texts,
            "tokens": extent.n_tokens,
            "shuffled": extent.n_shuffled,
            "heads": [_head(h) for h in heads],
        }
    )


def read_heads(document: dict[str, Any]) -> tuple[HeadMaps, Extent, list[HeadStatistics]]:
    """Read a document of `heads_json`.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    check_schema(document, "heads")
    about = about_of(document, of_texts=True)
    extent = Extent(document["texts"], document["tokens"], document["shuffled"])
    return about, extent, [_read_head(h) for h in document["heads"]]


def heads_csv(heads: Sequence[HeadStatistics]) -> str:
    """Return CSV with one line per head and six digits; missing statistics are empty."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for h in heads:
        numbers = ("" if x is None else f"{x:.6g}" for x in _figures(h).values())
        writer.writerow((h.name, h.block, h.layer, h.head, *numbers, " ".join(h.labels)))
    return table.getvalue()


def _head(h: HeadStatistics) -> dict[str, Any]:
    names = {"name": h.name, "block": h.block, "layer": h.layer, "head": h.head}
    evidence = {kind: asdict(item) for kind, item in h.evidence.items()}
    return names | _figures(h) | {"labels": list(h.labels), "evidence": evidence}


def _read_head(h: dict[str, Any]) -> HeadStatistics:
    evidence = {kind: Evidence(**item) for kind, item in h["evidence"].items()}
    if unsupported := set(h["labels"]) - set(evidence):
        raise InputError(
            f"{h['name']!r:.60} has the label {unsupported.pop()!r}, but no evidence for it."
        )
    figures = {name: h[name] for name in FIGURES if name not in NAMES}
    return HeadStatistics(
        name=h["name"],
        block=h["block"],
        layer=h["layer"],
        head=h["head"],
        shares={name: h[name] for name in NAMES},
        evidence=evidence,
        labels=h["labels"],
        **figures,
    )


def _figures(h: HeadStatistics) -> dict[str, float | None]:
    return {name: h.figure(name) for name in FIGURES}
