"""What is shown of a map, in the words of its header, its legend and its links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qkv_cli.names import Show


@dataclass(frozen=True, slots=True)
class Quantity:
    """How one kind of number is spoken of.

    Attributes:
        one: A single number.
        more: What the larger one of two is.
        reading: What rows and columns do.
        header: What stands over the maps; empty for what a reader expects.
        note: What must be known of these numbers.
        link: Stands between a query and a key, before the number.
        does, done: What a query does to a key, and a key to a query.
        query, key: What the axes of a map are called.
    """

    one: str
    more: str
    reading: str
    header: str = ""
    note: str = ""
    link: str = "→"
    does: str = "attends to"
    done: str = "is attended to by"
    query: str = "query (attends)"
    key: str = "key (attended to)"


QUANTITIES: Mapping[Show, Quantity] = {
    "weights": Quantity("weight", "more weight", "rows (queries) attend to columns (keys)"),
    "scores": Quantity(
        "score",
        "the higher score",
        "rows are queries, columns are keys",
        "scores: before softmax, scaled, with any position bias",
        "softmax depends only on the differences within a row",
        "·",
        "scores",
        "is scored by",
        "query",
        "key",
    ),
    "contributions": Quantity(
        "length",
        "the greater length",
        "rows (queries) receive from columns (keys)",
        "contributions: ‖weight x value x W_O‖",
        "each length is that of the vector which the key adds to the query's output",
        "←",
        "receives from",
        "contributes to",
        "query (receives)",
        "key (contributes)",
    ),
    "rollout": Quantity(
        "share",
        "the larger share",
        "rows (positions in this layer) draw on columns (input tokens)",
        "rollout: weights traced through all layers to the input",
        "each share is the part of a position that comes from an input token",
        "←",
        "draws on",
        "goes into",
        "position in this layer",
        "input token",
    ),
}
