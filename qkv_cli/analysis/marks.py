"""Which heads are remarkable: the labels of `qkv heads`, from as few readings as may do."""

from __future__ import annotations

from dataclasses import dataclass

from qkv_cli.analysis.evidence import labels, of_repeated, of_shuffled, weigh
from qkv_cli.analysis.measure import Sums, joined, measure
from qkv_cli.analysis.study import Order, Read, with_targets


@dataclass(frozen=True, slots=True)
class Mark:
    """A kind that a head is of, and by how much it beats chance."""

    kind: str  # one of `kinds.NAMES`
    layer: int
    head: int
    effect: float

    @property
    def name(self) -> str:
        return f"L{self.layer}H{self.head}"


def marks(text: str, read: Read, n_shuffles: int) -> list[Mark]:
    """The labels that some shuffled readings of a sample and one of words read twice bear out.

    A reading is one piece of evidence for kinds whose rows share a key (first, separators,
    punctuation), so that of these only the strongest are found.
    """
    if not n_shuffles:
        return []
    heads, words, repeated = _measured(text, read, "twice")
    total = of_repeated(repeated)
    for _ in range(n_shuffles):
        total += of_shuffled(_measured(text, read, "sampled")[2])
    return [
        Mark(kind, layer, head, evidence[kind].effect)
        for (layer, head), evidence in zip(heads, weigh(total, len(words)), strict=True)
        for kind in labels(evidence)
    ]


def _measured(text: str, read: Read, order: Order) -> tuple[list[tuple[int, int]], set[int], Sums]:
    """Which heads were read, the ids of the words that were, and what was measured."""
    heads: list[tuple[int, int]] = []
    sums: list[Sums] = []
    words = set[int]()
    for maps, wanted in with_targets(read(text, order)):
        heads += [(m.layer, m.head or 0) for m in maps.maps]
        words = {token.id for token in maps.queries if not token.special}
        sums.append(measure(maps, wanted))
    return heads, words, joined(sums)
