"""What is shown of a map, in the words of its header, its legend and its links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qkv_cli.views import Show


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
    does: str = "looks at"
    done: str = "is looked at by"
    query: str = "query (who looks)"
    key: str = "key (who is looked at)"


QUANTITIES: Mapping[Show, Quantity] = {
    "weights": Quantity("weight", "more weight", "rows (queries) look at columns (keys)"),
    "scores": Quantity(
        "score",
        "the higher score",
        "rows (queries) meet columns (keys)",
        "scores: before softmax, scaled and biased",
        "softmax sees only how far the scores of a row lie apart",
        "·",
        "scores",
        "is scored by",
        "query",
        "key",
    ),
    "contributions": Quantity(
        "length",
        "the greater length",
        "rows (queries) take from columns (keys)",
        "contributions: ‖weight x value x W_O‖",
        "lengths are of what the key hands to the query",
        "←",
        "takes from",
        "gives to",
        "query (who takes)",
        "key (who gives)",
    ),
    "rollout": Quantity(
        "share",
        "the larger share",
        "rows (queries) are made of columns (keys)",
        "rollout: weights followed down through the layers",
        "shares are what comes from the column's token in the input",
        "←",
        "is made of",
        "goes into",
        "place in this layer",
        "token of the input",
    ),
}
