"""The quantities that maps can show, in the words of headers, legends and links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qkv_cli.names import Show


@dataclass(frozen=True, slots=True)
class Quantity:
    """The words for one quantity.

    Attributes:
        one: The noun for one number.
        more: The phrase for the larger of two numbers.
        reading: How rows relate to columns.
        header: The line above the maps; empty for weights.
        note: A note on these numbers.
        link: The arrow between a query and a key.
        does, done: The verb of a query to a key, and of a key to a query.
        query, key: The axis titles of a map.
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
